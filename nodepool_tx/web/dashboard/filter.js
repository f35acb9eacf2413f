// @ts-check
/*
 * The words of the filter box: `state:ready,hold provider:"north wing" -az1 foo`.
 *
 * All words must fit.  `key:value` looks at one field, a bare word at all that
 * is shown of a node; `-` in front turns it round; commas separate choices.
 */
import { text } from "./words.js";

const WORD = /(-?)(?:([a-z]+):)?(?:"([^"]*)"?|(\S+))/gi;

/** Fields by key; those in EXACT must be equal, others contain the value. */
const FIELDS = {
  id: (n) => n.id,
  state: (n) => n.state,
  provider: (n) => n.provider,
  pool: (n) => n.pool,
  label: (n) => n.labels,
  host: (n) => n.hostname,
  az: (n) => n.az,
  request: (n) => n.allocated_to,
  launcher: (n) => n.launcher,
  locked: (n) => (n.locked ? "yes" : "no"),
  ip: (n) => [n.public_ipv4, n.private_ipv4, n.ipv6],
  comment: (n) => n.comment,
};
const EXACT = new Set(["id", "state", "provider", "pool", "label", "locked", "request"]);

/** @type {WeakMap<object, string>} all that is shown of a node, in lower case */
const haystacks = new WeakMap();

/** @param {any} node */
function haystack(node) {
  let found = haystacks.get(node);
  if (found === undefined) {
    found = Object.values(FIELDS)
      .map((field) => text(field(node)))
      .join("\n")
      .toLowerCase();
    found +=
      `\n${text(node.hold_job)}\n${text(node.external_id)}\n${text(node.requestor)}`.toLowerCase();
    haystacks.set(node, found);
  }
  return found;
}

/** @param {string} words @returns {((node: any) => boolean) | null} null lets everything through */
export function filterOf(words) {
  /** @type {((node: any) => boolean)[]} */
  const tests = [];
  for (const [, minus, key, quoted, bare] of words.matchAll(WORD)) {
    const field = key ? FIELDS[key.toLowerCase()] : undefined;
    const value = (quoted ?? bare).toLowerCase();
    /** @type {(node: any) => boolean} */
    let fits;
    if (field) {
      const choices = quoted === undefined ? value.split(",") : [value];
      const same = EXACT.has(key.toLowerCase())
        ? (/** @type {string} */ one) => choices.includes(one)
        : (/** @type {string} */ one) => choices.some((choice) => one.includes(choice));
      fits = (node) => {
        const found = field(node);
        const all = Array.isArray(found) ? found : [found];
        return all.some((one) => same(text(one).toLowerCase()));
      };
    } else {
      const whole = key ? `${key}:${value}`.toLowerCase() : value;
      fits = (node) => haystack(node).includes(whole);
    }
    tests.push(minus ? (node) => !fits(node) : fits);
  }
  if (!tests.length) return null;
  return (node) => tests.every((test) => test(node));
}

/**
 * @param {Record<string, string | null | undefined>} pairs
 * @returns {string} words that mean these
 */
export function wordsFor(pairs) {
  return Object.entries(pairs)
    .filter(([, value]) => value !== undefined && value !== null && value !== "")
    .map(
      ([key, value]) =>
        `${key}:${/[\s",]/.test(String(value)) ? `"${String(value).replaceAll('"', "")}"` : value}`,
    )
    .join(" ");
}
