// @ts-check
/*
 * Small shapes that go with a colour, so that none has to be told by colour alone.
 */
import { svg } from "./dom.js";

const SHAPES = {
  good: () => svg("circle", { cx: 6, cy: 6, r: 4.5, fill: "currentColor" }),
  unknown: () =>
    svg("circle", {
      cx: 6,
      cy: 6,
      r: 3.8,
      fill: "none",
      stroke: "currentColor",
      "stroke-width": 2,
    }),
  warn: () => svg("path", { d: "M6 1 11.5 11H.5Z", fill: "currentColor" }),
  bad: () => svg("path", { d: "M2 2h8v8H2Z", fill: "currentColor" }),
  off: () => svg("path", { d: "M6 .5 11.5 6 6 11.5.5 6Z", fill: "currentColor" }),
  busy: () => svg("path", { d: "M3 1.5 10.5 6 3 10.5Z", fill: "currentColor" }),
};

/** @typedef {keyof typeof SHAPES} Tone */

/** @param {Tone} tone @returns {SVGElement} */
export function icon(tone) {
  return svg(
    "svg",
    { class: `icon ${tone}`, viewBox: "0 0 12 12", "aria-hidden": "true" },
    SHAPES[tone](),
  );
}
