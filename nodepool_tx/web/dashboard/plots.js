// @ts-check
/*
 * Draws a trend as SVG: stacked bars above and below a line, or curves; with
 * axes, a read-out under the pointer and a table of the same numbers.
 */
import { h, replace, svg } from "./dom.js";
import { bars, curve, hatch, hours, range, ticksOf } from "./shapes.js";
import { minuteOf, number } from "./words.js";

/** @typedef {import("./series.js").Trend} Trend */

const HEIGHT = 150;
const MARGIN = { left: 40, right: 8, top: 8, bottom: 20 };
let plots = 0;

export class Plot {
  /**
   * @param {string} title @param {string} unit what the numbers are
   * @param {(value: number) => string} [words] a number with its unit
   * @param {number[]} [steps] between marks; else round decimal numbers
   */
  constructor(title, unit, words = number, steps = []) {
    this._words = words;
    this._steps = steps;
    this._id = `plot${(plots += 1)}`;
    this._unit = unit;
    /** @type {Trend | null} */ this._trend = null;
    this._legend = h("ul", { class: "legend", "aria-hidden": "true" });
    this._canvas = /** @type {SVGSVGElement} */ (
      svg("svg", {
        role: "img",
        "aria-label": `${title}: not read yet`,
        height: HEIGHT,
        class: "plot",
      })
    );
    this._tip = h("div", { class: "tip", "aria-hidden": "true" });
    this._tip.hidden = true;
    this._rows = h("div", {
      class: "scroll",
      tabindex: "0",
      role: "region",
      "aria-label": `${title}, table`,
    });
    this._table = h(
      "details",
      { toggle: () => this._fillTable() },
      h("summary", {}, "Numbers"),
      this._rows,
    );
    this._table.firstElementChild?.setAttribute("aria-label", `${title}: numbers`);
    this._area = h("div", { class: "area" }, this._canvas, this._tip);
    this._title = title;
    this.element = h(
      "figure",
      {},
      h("figcaption", {}, h("b", {}, title), h("span", { class: "muted" }, ` ${unit}`)),
      this._legend,
      this._area,
      this._table,
    );
    this._canvas.addEventListener("pointermove", (event) => this._point(event));
    this._canvas.addEventListener("pointerleave", () => this._unpoint());
    new ResizeObserver(() => this._draw()).observe(this._area);
  }

  /** @param {Trend} trend */
  show(trend) {
    this._trend = trend;
    const all = [...trend.up, ...trend.lines];
    const names = all.map((one) => one.name);
    const failed = trend.down.length > 0 && trend.up.length > 0;
    replace(
      this._legend,
      all.map((one) =>
        h(
          "li",
          {},
          h("i", {
            class: `swatch ${one.tone}${one.dashed ? " dashed" : trend.lines.length ? " line" : ""}`,
          }),
          one.name,
        ),
      ),
      trend.down
        .filter((one) => !names.includes(one.name))
        .map((one) => h("li", {}, h("i", { class: `swatch ${one.tone} hatched` }), one.name)),
      failed && trend.down.some((one) => names.includes(one.name))
        ? h("li", {}, h("i", { class: "swatch s5 hatched" }), "below: failed")
        : null,
    );
    this._draw();
    this._fillTable();
  }

  _draw() {
    const trend = this._trend;
    const width = this._area.clientWidth;
    if (!trend || width < 50) return;
    const frame = {
      left: MARGIN.left,
      right: width - MARGIN.right,
      top: MARGIN.top,
      bottom: HEIGHT - MARGIN.bottom,
    };
    const [low, high] = range(trend);
    const ticks = ticksOf(low, high, this._steps);
    const [bottom, top] = [low * 1.1, Math.max(high, ticks[ticks.length - 1])];
    const x = (/** @type {number} */ index) =>
      frame.left + ((frame.right - frame.left) * index) / trend.at.length;
    const y = (/** @type {number} */ value) =>
      frame.bottom - ((frame.bottom - frame.top) * (value - bottom)) / (top - bottom);
    this._x = x;
    this._canvas.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    this._canvas.setAttribute("width", String(width));
    const empty = !trend.up.length && !trend.down.length && !trend.lines.length;
    this._canvas.setAttribute(
      "aria-label",
      empty
        ? `${this._title}: nothing in this time`
        : `${this._title}, ${this._unit}; the numbers follow as a table`,
    );
    this._guide = svg("line", {
      class: "guide",
      y1: frame.top,
      y2: frame.bottom,
      visibility: "hidden",
    });
    replace(
      this._canvas,
      svg(
        "defs",
        {},
        trend.down.map((one) => hatch(`${this._id}-${one.tone}`, one.tone)),
      ),
      empty
        ? null
        : ticks.map((tick) => [
            svg("line", {
              class: tick === 0 ? "zero" : "grid",
              x1: frame.left,
              x2: frame.right,
              y1: y(tick),
              y2: y(tick),
            }),
            svg(
              "text",
              { class: "tick", x: frame.left - 5, y: y(tick) + 3.5, "text-anchor": "end" },
              tick ? this._words(Math.abs(tick)) : "0",
            ),
          ]),
      hours(trend, width - MARGIN.left).map(([index, words]) => [
        svg("line", {
          class: "grid",
          x1: x(index),
          x2: x(index),
          y1: frame.bottom,
          y2: frame.bottom + 3,
        }),
        svg("text", { class: "tick", x: x(index), y: HEIGHT - 5, "text-anchor": "middle" }, words),
      ]),
      bars(trend.up, 1, x, y, (one) => ({ class: one.tone })),
      bars(trend.down, -1, x, y, (one) => ({ fill: `url(#${this._id}-${one.tone})` })),
      trend.lines.map((one) => curve(one, x, y)),
      empty
        ? svg(
            "text",
            { class: "nothing", x: width / 2, y: HEIGHT / 2, "text-anchor": "middle" },
            "nothing in this time",
          )
        : null,
      this._guide,
    );
  }

  /** @param {PointerEvent} event */
  _point(event) {
    const trend = this._trend;
    if (!trend || !this._guide || !this._x) return;
    const box = this._canvas.getBoundingClientRect();
    const share =
      (event.clientX - box.left - MARGIN.left) / (box.width - MARGIN.left - MARGIN.right);
    const index = Math.floor(share * trend.at.length);
    if (index < 0 || index >= trend.at.length) return this._unpoint();
    const x = this._x(index + 0.5);
    this._guide.setAttribute("x1", String(x));
    this._guide.setAttribute("x2", String(x));
    this._guide.setAttribute("visibility", "visible");
    const rows = [
      ...[...trend.up, ...trend.lines].map((one) => [one.name, one.values[index]]),
      ...trend.down.map((one) => [
        one.name === "failed" ? one.name : `${one.name} failed`,
        one.values[index],
      ]),
    ].filter(([, value]) => value);
    replace(
      this._tip,
      h("b", {}, minuteOf(trend.at[index])),
      rows.map(([name, value]) =>
        h("div", {}, h("span", {}, name), h("b", {}, this._words(Number(value)))),
      ),
      rows.length ? null : h("div", {}, "nothing"),
    );
    this._tip.hidden = false;
    const left = x < box.width / 2 ? x + 10 : x - 10 - this._tip.offsetWidth;
    this._tip.style.left = `${Math.min(Math.max(0, left), Math.max(0, box.width - this._tip.offsetWidth))}px`;
    return undefined;
  }

  _unpoint() {
    this._tip.hidden = true;
    this._guide?.setAttribute("visibility", "hidden");
  }

  _fillTable() {
    const trend = this._trend;
    if (!trend || !(/** @type {HTMLDetailsElement} */ (this._table).open)) return;
    const all = [
      ...trend.up,
      ...trend.down.map((one) => ({
        ...one,
        name: one.name === "failed" ? one.name : `${one.name} failed`,
      })),
      ...trend.lines,
    ];
    const rows = trend.at
      .map((at, index) => ({ at, values: all.map((one) => one.values[index]) }))
      .filter((row) => row.values.some((value) => value))
      .reverse();
    replace(
      this._rows,
      rows.length
        ? h(
            "table",
            { class: "list" },
            h("caption", { class: "hidden-words" }, `${this._title}, ${this._unit}`),
            h(
              "thead",
              {},
              h(
                "tr",
                {},
                h("th", { scope: "col" }, "From"),
                all.map((one) => h("th", { scope: "col" }, one.name)),
              ),
            ),
            h(
              "tbody",
              {},
              rows.map((row) =>
                h(
                  "tr",
                  {},
                  h("th", { scope: "row" }, minuteOf(row.at)),
                  row.values.map((value) => h("td", {}, value ? this._words(value) : "–")),
                ),
              ),
            ),
          )
        : h("p", { class: "empty" }, "Nothing in this time."),
    );
  }
}
