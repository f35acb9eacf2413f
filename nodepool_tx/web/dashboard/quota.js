// @ts-check
/*
 * Quota by provider and resource.  What is nearly or quite used up says so in
 * words and by a shape, not by its colour alone.
 */
import { byId, h, keyed, replace, say } from "./dom.js";
import { icon } from "./icons.js";
import { number, text } from "./words.js";

const NEARLY = 0.8;

/** @param {import("./model.js").Model} model */
export function quota(model) {
  const body = byId("quota-body");
  model.on(["providers"], () => {
    const rows = rowsOf(model);
    if (!rows.length) {
      replace(body, h("p", { class: "empty" }, "No provider has a quota."));
      return;
    }
    keyed(
      body,
      rows,
      (one) => one.provider,
      (one) => h("div", { class: "provider" }, h("h3", {}, one.provider), h("ul", {})),
      (element, one) => {
        keyed(
          element.querySelector("ul"),
          one.resources,
          (resource) => text(resource.resource),
          makeRow,
          drawRow,
        );
      },
    );
  });
}

/** @param {import("./model.js").Model} model */
function rowsOf(model) {
  return [...model.providers.values()]
    .filter((provider) => provider.quota?.length)
    .map((provider) => ({ provider: provider.name, resources: provider.quota }))
    .sort((a, b) => (a.provider < b.provider ? -1 : 1));
}

/** @param {any} one */
function makeRow(one) {
  const name = text(one.resource);
  return h(
    "li",
    { class: "gauge" },
    h("span", { class: "name" }, name),
    h("div", { class: "track", role: "meter", "aria-label": name }, h("i")),
    h("span", { class: "numbers" }),
    h("span", { class: "word" }),
  );
}

/** @param {Element} row @param {any} one */
function drawRow(row, one) {
  const limited = typeof one.limit === "number" && Number.isFinite(one.limit) && one.limit >= 0;
  const share = limited ? (one.limit > 0 ? one.used / one.limit : 1) : 0;
  const tone = !limited ? "" : share >= 1 ? "bad" : share >= NEARLY ? "warn" : "";
  row.className = `gauge ${tone}`;
  const track = /** @type {HTMLElement} */ (row.querySelector(".track"));
  /** @type {HTMLElement} */ (track.firstElementChild).style.width =
    `${Math.min(100, share * 100)}%`;
  const words = amounts(one.used, limited ? one.limit : null, one.unit);
  say(/** @type {Element} */ (row.querySelector(".numbers")), words);
  track.setAttribute("aria-valuemin", "0");
  track.setAttribute("aria-valuemax", "100");
  track.setAttribute("aria-valuenow", String(Math.round(Math.min(1, share) * 100)));
  track.setAttribute("aria-valuetext", words);
  const word = /** @type {HTMLElement} */ (row.querySelector(".word"));
  if (word.dataset.tone === tone + Math.round(share * 100)) return;
  word.dataset.tone = tone + Math.round(share * 100);
  if (tone) replace(word, icon(tone), tone === "bad" ? "full" : `${Math.round(share * 100)} %`);
  else replace(word, limited ? `${Math.round(share * 100)} %` : "");
}

/** @param {number} used @param {number | null} limit @param {string | null | undefined} unit */
function amounts(used, limit, unit) {
  const large = (unit === "MB" || unit === "MiB") && (limit ?? used) >= 10_240;
  const scale = large ? 1024 : 1;
  const name = large ? unit.replace("M", "G") : text(unit);
  const of = limit === null ? ", no limit" : ` / ${number(limit / scale)}`;
  return `${number(used / scale)}${of}${name ? ` ${name}` : ""}`;
}
