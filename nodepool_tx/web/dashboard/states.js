// @ts-check
/*
 * The states of nodes, in the order in which a node goes through them, and
 * which of them share a colour and a pattern.
 */

/** State, its class in the style sheet. */
const CLASSES = /** @type {const} */ ([
  ["init", "building"],
  ["building", "building"],
  ["testing", "building"],
  ["ready", "ready"],
  ["in-use", "in-use"],
  ["hold", "hold"],
  ["used", "going"],
  ["deleting", "going"],
  ["deleted", "going"],
  ["failed", "failed"],
  ["aborted", "failed"],
]);
const BY_STATE = new Map(
  CLASSES.map(([state, kind], order) => [String(state), { kind: String(kind), order }]),
);

/** What the legend says of each class. */
export const LEGEND = [
  ["building", "building"],
  ["ready", "ready"],
  ["in-use", "in use"],
  ["hold", "held"],
  ["going", "used, deleting"],
  ["failed", "failed"],
];

/** @param {string} state */
export const kindOf = (state) => BY_STATE.get(state)?.kind ?? "going";

/** @param {string} state */
export const orderOf = (state) => BY_STATE.get(state)?.order ?? CLASSES.length;

/**
 * @param {Map<string, number> | Record<string, number>} counts by state
 * @returns {[string, number][]} in order, without what there is none of
 */
export function inOrder(counts) {
  const pairs = counts instanceof Map ? [...counts] : Object.entries(counts ?? {});
  return pairs.filter(([, count]) => count > 0).sort((a, b) => orderOf(a[0]) - orderOf(b[0]));
}
