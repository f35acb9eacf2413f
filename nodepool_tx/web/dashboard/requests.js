// @ts-check
/*
 * Requests that wait, longest first, each with its reason.  A click opens the
 * explanation.
 */
import { byId, h, keyed, replace, say } from "./dom.js";
import { icon } from "./icons.js";
import { age, number, plural, setAge, text } from "./words.js";

/** Rows before one has to ask for more. */
const FIRST_ROWS = matchMedia("(max-width: 640px)").matches ? 8 : 50;

/** @param {import("./model.js").Model} model @param {(id: string) => void} explain */
export function requests(model, explain) {
  const body = byId("requests-body");
  // The roles are said aloud because a phone shows the rows as blocks.
  const rows = h("tbody", { role: "rowgroup" });
  const table = h(
    "table",
    { class: "list", role: "table" },
    h("caption", { class: "hidden-words" }, "Requests that wait, longest first"),
    h(
      "thead",
      { role: "rowgroup" },
      h(
        "tr",
        { role: "row" },
        [
          ["c-age", "Age"],
          ["c-request", "Request"],
          ["c-who", "For"],
          ["c-why", "Why it waits"],
        ].map(([kind, words]) =>
          h("th", { scope: "col", role: "columnheader", class: kind }, words),
        ),
      ),
    ),
    rows,
  );
  const empty = h("p", { class: "empty" }, "Nobody waits.");
  const more = h("button", {
    type: "button",
    class: "quiet more",
    click: () => {
      all = true;
      draw();
    },
  });
  let all = false;
  body.append(
    h(
      "div",
      { class: "scroll", tabindex: "0", role: "region", "aria-label": "List of requests" },
      table,
    ),
    empty,
    more,
  );

  const draw = () => {
    const waiting = [...model.requests.values()]
      .filter((request) => request.state === "requested" || request.state === "pending")
      .sort((a, b) => (a.created ?? Infinity) - (b.created ?? Infinity) || (a.id < b.id ? -1 : 1));
    const shown = all ? waiting : waiting.slice(0, FIRST_ROWS);
    say(byId("requests-count"), waiting.length ? number(waiting.length) : "");
    /** @type {HTMLElement} */ (table.parentElement).hidden = !waiting.length;
    empty.hidden = waiting.length > 0;
    more.hidden = shown.length === waiting.length;
    say(more, `Show all ${number(waiting.length)}`);
    keyed(
      rows,
      shown,
      (request) => request.id,
      (request) => makeRow(request, explain),
      drawRow,
    );
  };
  model.on(["requests"], draw);
}

/** @param {any} request @param {(id: string) => void} explain */
function makeRow(request, explain) {
  return h(
    "tr",
    { role: "row", click: () => explain(request.id) },
    h("td", { role: "cell", class: "c-age" }, age(request.created)),
    h(
      "td",
      { role: "cell", class: "c-request" },
      h("button", { type: "button", class: "link id", "aria-haspopup": "dialog" }, request.id),
      h("span", { class: "labels" }),
    ),
    h(
      "td",
      { role: "cell", class: "c-who" },
      h("span", { class: "tenant" }),
      h("span", { class: "requestor muted" }),
    ),
    h(
      "td",
      { role: "cell", class: "c-why" },
      h("span", { class: "state" }),
      h("span", { class: "reason" }),
    ),
  );
}

/** @param {HTMLElement} row @param {any} request */
function drawRow(row, request) {
  const put = (/** @type {string} */ place, /** @type {string} */ words) =>
    say(/** @type {Element} */ (row.querySelector(place)), words);
  setAge(/** @type {HTMLElement} */ (row.querySelector("time")), request.created);
  put(".labels", labelsOf(request.labels));
  put(".tenant", text(request.tenant) || "–");
  put(".requestor", text(request.requestor));
  const state = /** @type {HTMLElement} */ (row.querySelector(".state"));
  if (state.dataset.shown !== request.state) {
    state.dataset.shown = request.state;
    if (request.state === "pending")
      replace(
        state,
        icon("busy"),
        h("span", { class: "hidden-words" }, "a launcher works on it: "),
      );
    else replace(state, icon("unknown"), h("span", { class: "hidden-words" }, "waits: "));
    state.title = request.state === "pending" ? "a launcher works on it" : "waits";
  }
  const declined = request.declined_by?.length
    ? `declined by ${plural(request.declined_by.length, "pool")}`
    : "";
  put(
    ".reason",
    [
      text(request.reason) ||
        (request.state === "pending" ? "a launcher works on it" : "not looked at yet"),
      declined,
    ]
      .filter(Boolean)
      .join(" · "),
  );
}

/** @param {string[] | undefined} labels @returns {string} such as `small ×3, large` */
export function labelsOf(labels) {
  const counts = new Map();
  for (const label of labels ?? []) counts.set(text(label), (counts.get(text(label)) ?? 0) + 1);
  return [...counts].map(([label, count]) => (count > 1 ? `${label} ×${count}` : label)).join(", ");
}
