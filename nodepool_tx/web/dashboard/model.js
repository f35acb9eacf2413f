// @ts-check
/*
 * What the page knows of the server, and who is drawn again when it changes.
 *
 * Changes are collected; views draw once per frame at the most, and not at all
 * while the page is hidden.
 */
import { setClock } from "./words.js";

/**
 * @typedef {"status"|"nodes"|"requests"|"providers"|"history"|"reloads"|"images"|"health"|"connection"|"view"} Topic
 */

export class Model {
  constructor() {
    /** @type {any} */ this.status = null;
    /** @type {any} */ this.health = null;
    /** @type {any} */ this.history = null;
    /** @type {any} */ this.reloads = null;
    /** @type {any} */ this.images = null;
    /** @type {Map<string, any>} */ this.nodes = new Map();
    /** @type {Map<string, any>} */ this.requests = new Map();
    /** @type {Map<string, any>} */ this.providers = new Map();
    /** @type {{state: string, since: number, retryAt: number | null}} */
    this.connection = { state: "connecting", since: Date.now(), retryAt: null };
    /** @type {Set<Topic>} */ this._dirty = new Set();
    /** @type {[Set<Topic>, () => void][]} */ this._views = [];
    this._drawing = false;
  }

  /** @param {Topic[]} topics @param {() => void} draw */
  on(topics, draw) {
    this._views.push([new Set(topics), draw]);
  }

  /** @param {...Topic} topics */
  touch(...topics) {
    for (const topic of topics) this._dirty.add(topic);
    if (this._drawing) return;
    this._drawing = true;
    requestAnimationFrame(() => {
      this._drawing = false;
      const dirty = this._dirty;
      this._dirty = new Set();
      for (const [wanted, draw] of this._views) {
        if ([...dirty].some((topic) => wanted.has(topic))) draw();
      }
    });
  }

  /** @param {any} status */
  setStatus(status) {
    setClock(status.now);
    this.status = status;
    this.touch("status");
  }

  /** All there is. @param {"nodes"|"requests"|"providers"} topic @param {any[]} items */
  setAll(topic, items) {
    const key = topic === "providers" ? "name" : "id";
    this[topic] = new Map(items.map((item) => [item[key], item]));
    this.touch(topic);
  }

  /** @param {"nodes"|"requests"|"providers"} topic @param {any[]} changed @param {string[]} gone */
  change(topic, changed, gone) {
    const key = topic === "providers" ? "name" : "id";
    for (const item of changed ?? []) this[topic].set(item[key], item);
    for (const name of gone ?? []) this[topic].delete(name);
    this.touch(topic);
  }

  /** @param {"history"|"reloads"|"images"|"health"} topic @param {any} value */
  set(topic, value) {
    this[topic] = value;
    this.touch(topic);
  }

  /** The newest minute of history, as an event tells of it. @param {any} bucket */
  addBucket(bucket) {
    const { history } = this;
    if (!history) return;
    for (const [provider, launches] of Object.entries(bucket.launches ?? {})) {
      history.launches[provider] = withNewest(history.launches[provider] ?? [], launches);
    }
    if (bucket.requests) history.requests = withNewest(history.requests, bucket.requests);
    this.touch("history");
  }

  /**
   * @param {string} state
   * @param {number | null} [retryAt] milliseconds
   * @param {number} [since] what is shown is of this time, milliseconds
   */
  setConnection(state, retryAt = null, since = Date.now()) {
    this.connection = {
      state,
      since: state === this.connection.state ? this.connection.since : since,
      retryAt,
    };
    this.touch("connection");
  }
}

/** @param {{at: number}[]} buckets @param {{at: number}} newest */
const withNewest = (buckets, newest) => [...buckets.filter((one) => one.at !== newest.at), newest];
