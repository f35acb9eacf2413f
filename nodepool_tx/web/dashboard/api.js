// @ts-check
/*
 * Asks the server for JSON.  Every question has a time limit, so that a server
 * that hangs looks like one that is gone.
 */

const PATIENCE = 10_000;
const PAGE = 2000;

/** The server answered, but not with what was asked for. */
export class Refused extends Error {
  /** @param {number} status @param {string} words */
  constructor(status, words) {
    super(words);
    this.status = status;
  }
}

/** @param {string} path @param {number} [patience] milliseconds @returns {Promise<Response>} */
function ask(path, patience = PATIENCE) {
  return fetch(path, {
    headers: { accept: "application/json" },
    cache: "no-cache",
    signal: AbortSignal.timeout(patience),
  });
}

/**
 * @param {string} path @param {number} [patience] milliseconds
 * @returns {Promise<any>}
 * @throws {Refused} the answer is not 200
 */
export async function get(path, patience) {
  const answer = await ask(path, patience);
  const body = await answer.json().catch(() => null);
  if (!answer.ok) throw new Refused(answer.status, body?.error ?? `${answer.status} for ${path}`);
  if (body === null) throw new Refused(answer.status, `${path} is not JSON`);
  return body;
}

/**
 * What the dashboard can do without: null where the server does not offer it.
 * @param {string} path
 */
async function optional(path) {
  try {
    return await get(path);
  } catch (error) {
    if (error instanceof Refused) return null;
    throw error;
  }
}

/**
 * A long list, page by page.  One that changes so that its next page cannot be
 * told is read again from the beginning.
 * @param {string} name @param {number} [tries]
 * @returns {Promise<any[]>}
 */
async function all(name, tries = 3) {
  const found = [];
  let after = null;
  do {
    const more = after === null ? "" : `&after=${encodeURIComponent(after)}`;
    try {
      const page = await get(`/api/${name}?limit=${PAGE}${more}`);
      found.push(...page[name]);
      after = page.next ?? null;
    } catch (error) {
      if (after === null || tries <= 1 || !(error instanceof Refused)) throw error;
      return all(name, tries - 1);
    }
  } while (after !== null);
  return found;
}

export const status = () => get("/api/status", 5000);
export const nodes = () => all("nodes");
export const requests = () => all("requests");
export const providers = async () => (await get("/api/providers")).providers;
export const reloads = () => optional("/api/reloads");
export const images = () => optional("/api/images");
export const history = (/** @type {number} */ minutes) =>
  optional(`/api/history?minutes=${minutes}`);
export const explanation = (/** @type {string} */ id) =>
  get(`/api/requests/${encodeURIComponent(id)}/explanation`);

/** Readiness, whose answer is JSON also when it is 503. @returns {Promise<any>} */
export async function ready() {
  return (await ask("/health/ready", 5000)).json().catch(() => null);
}
