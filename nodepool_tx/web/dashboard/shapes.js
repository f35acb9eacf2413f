// @ts-check
/*
 * The parts of a plot: where its axes are marked, bars, curves and patterns.
 */
import { svg } from "./dom.js";
import { minuteOf } from "./words.js";

/** @typedef {import("./series.js").Trend} Trend */
/** @typedef {import("./series.js").Series} Series */
/** @typedef {(value: number) => number} Scale from an index or a value to a pixel */

/** @param {Trend} trend @returns {[number, number]} */
export function range(trend) {
  const sums = (/** @type {Series[]} */ series) =>
    trend.at.map((_, index) => series.reduce((sum, one) => sum + (one.values[index] ?? 0), 0));
  const high = Math.max(
    ...sums(trend.up),
    ...trend.lines.flatMap((one) => one.values.map((value) => value ?? 0)),
    0,
  );
  const low = trend.down.length ? -Math.max(...sums(trend.down)) : 0;
  return high === 0 && low === 0 ? [0, 1] : [low, high || -low / 4];
}

/**
 * Round numbers between them, about four.
 * @param {number} low
 * @param {number} high
 * @param {number[]} steps
 */
export function ticksOf(low, high, steps) {
  const rough = (high - low) / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const given = rough >= (steps[0] ?? Infinity) ? steps.find((each) => each >= rough) : undefined;
  const step = given ?? power * ([1, 2, 5, 10].find((each) => each * power >= rough) ?? 10);
  const ticks = [];
  for (let tick = Math.ceil(low / step); tick <= Math.ceil(high / step - 1e-9); tick += 1)
    ticks.push(tick * step);
  return ticks;
}

/**
 * Where the time axis is marked: at full hours or their parts.
 * @param {Trend} trend
 * @param {number} width pixels
 * @returns {[number, string][]}
 */
export function hours(trend, width) {
  const length = trend.at.length * trend.step;
  const room = Math.max(2, Math.floor(width / 62));
  const every =
    [300, 600, 900, 1800, 3600, 7200, 10800, 14400, 21600, 43200].find(
      (each) => length / each <= room,
    ) ?? 86400;
  const offset = new Date(trend.at[0] * 1000).getTimezoneOffset() * 60;
  const marks = [];
  for (
    let at = Math.ceil((trend.at[0] - offset) / every) * every + offset;
    at < trend.at[0] + length;
    at += every
  ) {
    const index = (at - trend.at[0]) / trend.step;
    const share = index / trend.at.length;
    if (share > 0.03 && share < 0.97)
      marks.push(/** @type {[number, string]} */ ([index, minuteOf(at)]));
  }
  return marks;
}

/**
 * @param {Series[]} series @param {1 | -1} sign @param {Scale} x @param {Scale} y
 * @param {(one: Series) => Record<string, string>} look
 */
export function bars(series, sign, x, y, look) {
  const base = series[0]?.values.map(() => 0) ?? [];
  return series.map((one) => {
    let path = "";
    for (const [index, value] of one.values.entries()) {
      if (!value) continue;
      const from = y(sign * base[index]);
      base[index] += value;
      let to = y(sign * base[index]);
      // However rare, a failure is seen.
      if (sign < 0) to = Math.max(to, from + 3);
      const gap = x(1) - x(0) > 4 ? 0.5 : 0;
      const [left, right] = [x(index) + gap, x(index + 1) - gap];
      path += `M${left.toFixed(2)} ${from.toFixed(2)}V${to.toFixed(2)}H${right.toFixed(2)}V${from.toFixed(2)}Z`;
    }
    return svg("path", { ...look(one), d: path });
  });
}

/**
 * Broken where there is nothing; a value alone is a dot.
 * @param {Series} one
 * @param {Scale} x
 * @param {Scale} y
 */
export function curve(one, x, y) {
  let path = "";
  let last = -Infinity;
  // What is seldom is joined over small gaps.
  const reach = Math.max(2, one.values.length / 12);
  for (const [index, value] of one.values.entries()) {
    if (value === null) continue;
    const point = `${x(index + 0.5).toFixed(2)} ${y(value).toFixed(2)}`;
    path += index - last <= reach ? `L${point}` : `M${point}h.01`;
    last = index;
  }
  return svg("path", { class: `curve ${one.tone}${one.dashed ? " dashed" : ""}`, d: path });
}

/** @param {string} id @param {string} tone */
export function hatch(id, tone) {
  return svg(
    "pattern",
    { id, width: 5, height: 5, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" },
    svg("rect", { class: `${tone} faint`, width: 5, height: 5 }),
    svg("rect", { class: tone, width: 2.2, height: 5 }),
  );
}
