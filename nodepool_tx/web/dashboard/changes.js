// @ts-check
/*
 * What has changed lately: reloads of the configuration, and builds and
 * uploads of images.
 */
import { byId, h, keyed, replace } from "./dom.js";
import { errorWords } from "./header.js";
import { icon } from "./icons.js";
import { age, number, plural, setAge, text, timeOf, took } from "./words.js";

const MOST = 20;

/** @param {import("./model.js").Model} model */
export function reloads(model) {
  const body = byId("reloads-body");
  model.on(["reloads"], () => {
    const errors = model.reloads?.errors ?? [];
    const all = [...(model.reloads?.reloads ?? [])].sort((a, b) => b.at - a.at).slice(0, MOST);
    const list = h(
      "ol",
      { class: "events" },
      errors.length
        ? h(
            "li",
            { class: "bad" },
            icon("bad"),
            h(
              "div",
              {},
              h("b", {}, `Refused: ${plural(errors.length, "error")}`),
              errors.map((error) => h("p", {}, errorWords(error))),
            ),
          )
        : null,
      all.map((one) =>
        h(
          "li",
          {},
          icon(names(one.rolled_back).length ? "warn" : "good"),
          h(
            "div",
            {},
            h(
              "p",
              { class: "when" },
              h("b", {}, timeOf(one.at)),
              h("span", { class: "muted" }, ` · ${took(one.seconds)} · `, age(one.at), " ago"),
            ),
            outcome(one),
          ),
        ),
      ),
    );
    replace(
      body,
      errors.length || all.length
        ? list
        : h("p", { class: "empty" }, "None since this launcher was started."),
    );
  });
}

/** @param {any} one a reload */
function outcome(one) {
  const parts = [
    ["replaced", names(one.replaced)],
    ["added", names(one.added)],
    ["removed", names(one.removed)],
    ["rolled back", names(one.rolled_back)],
  ].filter(([, found]) => found.length);
  const kept = names(one.kept).length;
  return h(
    "p",
    {},
    parts.map(([word, found], index) => [
      index ? "; " : "",
      h("b", { class: word === "rolled back" ? "warn" : "" }, String(word)),
      ` ${/** @type {string[]} */ (found).join(", ")}`,
    ]),
    kept ? [parts.length ? "; " : "", `kept ${number(kept)}`] : null,
    parts.length || kept ? null : "nothing to do",
  );
}

/** Names, or names with reasons. @param {any} value @returns {string[]} */
function names(value) {
  if (!value) return [];
  if (Array.isArray(value)) return value.map(text);
  return Object.entries(value).map(([name, why]) => (why ? `${name} (${text(why)})` : name));
}

/** @type {Record<string, import("./icons.js").Tone>} */
const TONES = {
  ready: "good",
  building: "busy",
  uploading: "busy",
  failed: "bad",
  deleting: "off",
};

/** @param {import("./model.js").Model} model */
export function images(model) {
  const body = byId("images-body");
  model.on(["images"], () => {
    const rows = [
      ...(model.images?.builds ?? []).map((one) => ({
        ...one,
        kind: "build",
        id: text(one.id).replace(`${text(one.image)}-`, ""),
        where: one.builder ?? "",
      })),
      ...(model.images?.uploads ?? []).map((one) => ({
        ...one,
        kind: "upload",
        id: [one.id, one.upload_id].map(text).filter(Boolean).join("/"),
        where: one.provider ?? "",
      })),
    ].sort((a, b) => rank(a) - rank(b) || (b.since ?? 0) - (a.since ?? 0));
    if (!rows.length) {
      replace(body, h("p", { class: "empty" }, "No builds and no uploads."));
      return;
    }
    let list = body.querySelector("tbody");
    if (!list) {
      list = /** @type {HTMLTableSectionElement} */ (h("tbody"));
      replace(
        body,
        h(
          "div",
          {
            class: "scroll",
            tabindex: "0",
            role: "region",
            "aria-label": "List of builds and uploads",
          },
          h(
            "table",
            { class: "list" },
            h(
              "caption",
              { class: "hidden-words" },
              "Builds and uploads, those at work and failed first",
            ),
            h(
              "thead",
              {},
              h(
                "tr",
                {},
                ["Image", "What", "Where", "State", "For"].map((word) =>
                  h("th", { scope: "col" }, word),
                ),
              ),
            ),
            list,
          ),
        ),
      );
    }
    keyed(
      list,
      rows,
      (one) => [one.kind, one.image, one.where, one.id].map(text).join("\n"),
      (one) =>
        h(
          "tr",
          {},
          h("th", { scope: "row" }, text(one.image)),
          h("td", {}, `${one.kind} ${text(one.id)}`),
          h("td", {}, text(one.where)),
          h("td", { class: "state" }),
          h("td", {}, age(null)),
        ),
      (row, one) => {
        const state = row.querySelector(".state");
        if (state.dataset.shown !== one.state) {
          state.dataset.shown = one.state;
          replace(state, icon(TONES[one.state] ?? "unknown"), text(one.state));
        }
        setAge(row.querySelector("time"), one.since ?? one.state_time);
      },
    );
  });
}

/** @param {any} one */
const rank = (one) => ({ failed: 0, building: 1, uploading: 1, deleting: 2 })[one.state] ?? 3;
