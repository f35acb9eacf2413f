// @ts-check
/*
 * Makes of the server's history, minute by minute, what the plots show: as
 * many bins as there is room for, and the busiest providers by name.
 */

/** Providers with a colour of their own; the others are drawn as one. */
const MOST = 5;

/**
 * @typedef {object} Series
 * @property {string} name
 * @property {string} tone class of its colour
 * @property {(number | null)[]} values one for each bin
 * @property {boolean} [dashed]
 */

/**
 * @typedef {object} Trend
 * @property {number[]} at the beginnings of the bins, seconds since the epoch
 * @property {number} step seconds of a bin
 * @property {Series[]} up @property {Series[]} down stacked bars, above and below
 * @property {Series[]} lines
 */

/** Seconds of a bin, by the minutes that are shown. */
const STEPS = /** @type {Record<number, number>} */ ({ 60: 60, 240: 120, 1440: 900 });

/**
 * @param {any} history
 * @param {number} minutes
 * @param {number} now
 * @returns {Record<"launches" | "launching" | "requests" | "fulfilling", Trend>}
 */
export function trends(history, minutes, now) {
  const step = Math.max(STEPS[minutes] ?? 120, history.bucket_seconds ?? 60);
  const end = Math.floor(now / step) * step;
  const count = Math.round((minutes * 60) / step);
  const at = Array.from({ length: count }, (_, index) => end - (count - 1 - index) * step);
  const bins = (/** @type {any[]} */ buckets) => binned(buckets, at, step);
  const perMinute = (/** @type {number} */ value) => (value * 60) / step;

  const launched = Object.entries(history.launches ?? {}).map(([name, buckets]) => ({
    name,
    bins: bins(buckets),
  }));
  const many = (/** @type {{bins: any[]}} */ one) =>
    one.bins.reduce((sum, bin) => sum + total(bin, "ready", "failed"), 0);
  const busy = launched.filter(many).sort((a, b) => many(b) - many(a));
  const named = busy.slice(0, MOST).sort((a, b) => (a.name < b.name ? -1 : 1));
  const others = busy.slice(MOST);
  const shown = named.map(({ name, bins: mine }, index) => ({
    name,
    tone: `s${index}`,
    bins: [mine],
  }));
  if (others.length)
    shown.push({
      name: `${others.length} others`,
      tone: "s5",
      bins: others.map((one) => one.bins),
    });

  const rates = (/** @type {string} */ key) =>
    shown.map(({ name, tone, bins: mine }) => ({
      name,
      tone,
      values: at.map((_, index) =>
        perMinute(mine.reduce((sum, one) => sum + total(one[index], key), 0)),
      ),
    }));
  const requests = bins(history.requests ?? []);
  const rate = (/** @type {string} */ key) => requests.map((bin) => perMinute(total(bin, key)));
  return {
    launches: { at, step, up: rates("ready"), down: rates("failed").filter(some), lines: [] },
    launching: {
      at,
      step,
      up: [],
      down: [],
      lines: named.flatMap(({ name, bins: mine }, index) => [
        { name: `${name} p50`, tone: `s${index}`, values: mine.map((bin) => middle(bin, "ready")) },
        { name: `${name} p95`, tone: `s${index}`, values: mine.map(worst), dashed: true },
      ]),
    },
    requests: {
      at,
      step,
      lines: [],
      up: [{ name: "fulfilled", tone: "ready", values: rate("fulfilled") }].filter(some),
      down: [{ name: "failed", tone: "failed", values: rate("failed") }].filter(some),
    },
    fulfilling: {
      at,
      step,
      up: [],
      down: [],
      lines: [
        { name: "p50", tone: "s0", values: requests.map((bin) => middle(bin, "fulfilled")) },
        { name: "p95", tone: "s0", values: requests.map(worst), dashed: true },
      ].filter(some),
    },
  };
}

/** @param {Series} one */
const some = (one) => one.values.some((value) => value);

/** @param {any[]} bin @param {...string} keys @returns {number} */
const total = (bin, ...keys) =>
  bin.reduce((sum, bucket) => sum + keys.reduce((all, key) => all + (bucket[key] ?? 0), 0), 0);

/** The buckets of each bin. @param {any[]} buckets @param {number[]} at @param {number} step */
function binned(buckets, at, step) {
  /** @type {any[][]} */
  const found = at.map(() => []);
  for (const bucket of buckets) {
    const index = Math.floor((bucket.at - at[0]) / step);
    if (index >= 0 && index < found.length) found[index].push(bucket);
  }
  return found;
}

/**
 * The medians of a bin's minutes, weighed by how much each stands for.
 * @param {any[]} bin
 * @param {string} key
 * @returns {number | null}
 */
function middle(bin, key) {
  let sum = 0;
  let weight = 0;
  for (const bucket of bin) {
    if (typeof bucket.p50 !== "number") continue;
    const mine = Math.max(1, bucket[key] ?? 1);
    sum += bucket.p50 * mine;
    weight += mine;
  }
  return weight ? sum / weight : null;
}

/** The worst minute of a bin. @param {any[]} bin @returns {number | null} */
function worst(bin) {
  const found = bin.map((bucket) => bucket.p95).filter((value) => typeof value === "number");
  return found.length ? Math.max(...found) : null;
}
