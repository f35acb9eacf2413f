// @ts-check
/*
 * Numbers, times and lists as people read them; and the server's clock, by
 * which all ages are counted.
 */
import { h } from "./dom.js";

/** Seconds by which the server's clock is ahead of ours. */
let ahead = 0;

/** @param {number | undefined} serverNow seconds since the epoch, as the server just said */
export function setClock(serverNow) {
  if (typeof serverNow === "number") ahead = serverNow - Date.now() / 1000;
}

/** @returns {number} the server's time, seconds since the epoch */
export function now() {
  return Date.now() / 1000 + ahead;
}

const two = (/** @type {number} */ value) => String(value).padStart(2, "0");

/** @param {number} seconds @returns {string} such as `12 s`, `3 m 05 s`, `2 h 10 m`, `4 d 3 h` */
export function span(seconds) {
  if (!Number.isFinite(seconds)) return "–";
  const whole = Math.max(0, Math.floor(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} m ${two(whole % 60)} s`;
  if (whole < 86400)
    return `${Math.floor(whole / 3600)} h ${two(Math.floor((whole % 3600) / 60))} m`;
  return `${Math.floor(whole / 86400)} d ${Math.floor((whole % 86400) / 3600)} h`;
}

/** @param {number | null | undefined} seconds @returns {string} a measured time, with fractions */
export function took(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 0.0995) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  if (seconds < 99.5) return `${Math.round(seconds)} s`;
  const short = (/** @type {number} */ value) =>
    value.toFixed(value < 9.95 ? 1 : 0).replace(/\.0$/, "");
  return seconds < 5970 ? `${short(seconds / 60)} m` : `${short(seconds / 3600)} h`;
}

const numbers = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
/** @param {number} value */
export const number = (value) => numbers.format(value);

/** @param {number} count @param {string} one @param {string} [many] */
export function plural(count, one, many = `${one}s`) {
  return `${number(count)} ${count === 1 ? one : many}`;
}

const hm = (/** @type {Date} */ d) => `${two(d.getHours())}:${two(d.getMinutes())}`;

/** @param {number} at @returns {string} hours and minutes */
export const minuteOf = (at) => hm(new Date(at * 1000));

/** @param {number} at @returns {string} with the date if it is not today's */
export function timeOf(at) {
  const d = new Date(at * 1000);
  const time = `${hm(d)}:${two(d.getSeconds())}`;
  if (d.toDateString() === new Date(now() * 1000).toDateString()) return time;
  return `${d.getFullYear()}-${two(d.getMonth() + 1)}-${two(d.getDate())} ${time}`;
}

/**
 * An age that counts on; see {@link tick}.
 * @param {number | null | undefined} since seconds since the epoch
 * @returns {HTMLElement}
 */
export function age(since) {
  const element = h("time", { class: "age" });
  setAge(element, since);
  return element;
}

/** @param {HTMLElement} element @param {number | null | undefined} since */
export function setAge(element, since) {
  if (!since) {
    delete element.dataset.since;
    element.textContent = "–";
    return;
  }
  if (element.dataset.since === String(since)) return;
  element.dataset.since = String(since);
  element.setAttribute("datetime", new Date(since * 1000).toISOString());
  element.title = `since ${timeOf(since)}`;
  element.textContent = span(now() - since);
}

/** Count all ages on the page on. */
export function tick() {
  const at = now();
  for (const element of document.querySelectorAll("time[data-since]")) {
    const text = span(at - Number(/** @type {HTMLElement} */ (element).dataset.since));
    if (element.textContent !== text) element.textContent = text;
  }
}

/** @param {unknown} value @returns {string} anything from the server, as one line */
export function text(value) {
  if (value === null || value === undefined) return "";
  if (Array.isArray(value)) return value.map(text).join(", ");
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}
