// @ts-check
/*
 * The four plots of the last hours, and how far back they go.
 */
import { byId, h, replace } from "./dom.js";
import { Plot } from "./plots.js";
import { trends as trendsOf } from "./series.js";
import { now, number, took } from "./words.js";

/** Between the marks of times, from a second on. */
const SECONDS = [
  1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 43200, 86400,
];
const SPANS = [
  ["60", "1 h"],
  ["240", "4 h"],
  ["1440", "24 h"],
];

/** @param {import("./view.js").View} view @returns {number} minutes */
export function minutesOf(view) {
  const wanted = view.get("span");
  return Number(SPANS.some(([minutes]) => minutes === wanted) ? wanted : "240");
}

/**
 * @param {import("./model.js").Model} model
 * @param {import("./view.js").View} view
 * @param {import("./stream.js").Live} live
 */
export function trends(model, view, live) {
  const place = byId("plots");
  const plots = {
    launches: new Plot("Launches", "per minute"),
    launching: new Plot("Launch time", "p50, and p95 dashed", took, SECONDS),
    requests: new Plot("Requests answered", "per minute"),
    fulfilling: new Plot("Time to fulfil", "p50, and p95 dashed", took, SECONDS),
  };
  replace(
    place,
    Object.values(plots).map((plot) => plot.element),
  );
  const causes = byId("causes");

  const choice = byId("span");
  const buttons = SPANS.map(([minutes, words]) =>
    h(
      "button",
      { type: "button", "data-minutes": minutes, click: () => view.set({ span: minutes }) },
      words,
    ),
  );
  replace(choice, buttons);
  const press = () => {
    for (const button of buttons)
      button.setAttribute(
        "aria-pressed",
        String(button.dataset.minutes === String(minutesOf(view))),
      );
  };
  press();

  const draw = () => {
    if (!model.history) return;
    const found = trendsOf(model.history, minutesOf(view), now());
    for (const [name, plot] of Object.entries(plots))
      plot.show(found[/** @type {keyof typeof plots} */ (name)]);
    const errors = Object.entries(model.history.errors ?? {});
    causes.hidden = !errors.length;
    replace(
      causes,
      h("li", {}, "Launches failed for"),
      errors.map(([provider, counts]) => h("li", {}, h("b", {}, provider), " ", causesOf(counts))),
    );
  };
  model.on(["history"], draw);
  view.on((changed) => {
    if (!changed.has("span")) return;
    press();
    draw();
    live.readHistory();
  });
}

/** @param {any} counts by the name of the error @returns {string} the most frequent first */
function causesOf(counts) {
  const pairs = /** @type {[string, number][]} */ (Object.entries(counts)).sort(
    (a, b) => b[1] - a[1],
  );
  return pairs
    .map(([name, count]) => `${name.replace(/^error\./, "")} ${number(count)}`)
    .join(", ");
}
