// @ts-check
/*
 * Keeps the model up to date.
 *
 * Live by server-sent events: the stream is opened first, then everything is
 * read; what the stream says meanwhile is kept and applied after it.  A lost
 * stream is opened again after a growing pause.  A server that answers but
 * refuses streams is polled.  A hidden page lets go of its stream.
 */
import * as api from "./api.js";

const TOPICS = ["status", "providers", "nodes", "requests", "reload", "history"];
const FIRST_PAUSE = 1000;
const LONGEST_PAUSE = 30_000;
const POLL_EVERY = 5000;
const STREAM_AGAIN = 60_000;
const SILENCE = 30_000;
const SLOWLY = 30_000;
const HIDDEN_FOR = 2000;
const HISTORY_AGAIN = 60_000;

export class Live {
  /**
   * @param {import("./model.js").Model} model
   * @param {() => number} minutes of history that are shown
   */
  constructor(model, minutes) {
    this._model = model;
    this._minutes = minutes;
    /** @type {EventSource | null} */ this._source = null;
    /** @type {[string, any][] | null} kept while everything is read */ this._kept = null;
    /** @type {Set<ReturnType<typeof setTimeout>>} */ this._timers = new Set();
    this._life = 0;
    this._failures = 0;
    this._refusals = 0;
    this._heard = 0;
    this._historyRead = 0;
    this._historyDue = false;
  }

  start() {
    document.addEventListener("visibilitychange", () => this._seen());
    addEventListener("online", () => this.again());
    // A page that is kept for the way back must not keep its stream.
    addEventListener("pagehide", () => this._end());
    addEventListener("pageshow", (event) => {
      if (event.persisted) this._open();
    });
    this._open();
  }

  /** Try at once, whatever pause there is. */
  again() {
    if (!document.hidden && this._model.connection.state !== "live") this._open();
  }

  /** History of another length is wanted. */
  async readHistory() {
    this._historyRead = Date.now();
    this._historyDue = false;
    const life = this._life;
    const found = await api.history(this._minutes()).catch(() => null);
    if (found && life === this._life) this._model.set("history", found);
  }

  // -- one life: from opening the stream to its end

  _end() {
    this._life += 1;
    this._source?.close();
    this._source = null;
    this._kept = null;
    for (const timer of this._timers) clearTimeout(timer);
    this._timers.clear();
    this._historyDue = false;
  }

  /** @param {() => void} action @param {number} pause milliseconds */
  _later(action, pause) {
    const timer = setTimeout(() => {
      this._timers.delete(timer);
      action();
    }, pause);
    this._timers.add(timer);
  }

  _open() {
    this._end();
    if (document.hidden) return this._model.setConnection("paused");
    const life = this._life;
    const source = new EventSource(`/api/events?topics=${TOPICS.join(",")}`);
    this._source = source;
    let opened = false;
    source.onopen = () => {
      opened = true;
      this._heard = Date.now();
      this._resync();
    };
    source.onerror = () => {
      if (life !== this._life) return;
      this._refusals = opened ? 0 : this._refusals + 1;
      this._lost();
    };
    for (const topic of [...TOPICS, "resync"]) {
      source.addEventListener(topic, (event) => this._event(topic, event));
    }
    this._later(() => this._listen(life), SILENCE);
    this._later(() => this._readSlowOnes(), SLOWLY);
    return undefined;
  }

  async _resync() {
    const life = this._life;
    this._kept = [];
    try {
      await this._readAll();
    } catch {
      if (life === this._life) this._lost();
      return;
    }
    if (life !== this._life) return;
    const kept = this._kept ?? [];
    this._kept = null;
    this._failures = 0;
    this._refusals = 0;
    this._model.setConnection("live");
    for (const [topic, data] of kept) this._apply(topic, data);
  }

  async _readAll() {
    const life = this._life;
    const model = this._model;
    const [status, providers, requests, nodes, history, reloads, images, health] =
      await Promise.all([
        api.status(),
        api.providers(),
        api.requests(),
        api.nodes(),
        api.history(this._minutes()),
        api.reloads(),
        api.images(),
        api.ready(),
      ]);
    if (life !== this._life) return;
    this._historyRead = Date.now();
    model.setStatus(status);
    model.setAll("providers", providers);
    model.setAll("requests", requests);
    model.setAll("nodes", nodes);
    if (history) model.set("history", history);
    if (reloads) model.set("reloads", reloads);
    if (images) model.set("images", images);
    model.set("health", health);
  }

  /** @param {string} topic @param {MessageEvent} event */
  _event(topic, event) {
    this._heard = Date.now();
    if (topic === "resync") {
      this._resync();
      return;
    }
    const data = JSON.parse(event.data);
    if (this._kept) this._kept.push([topic, data]);
    else this._apply(topic, data);
  }

  /** @param {string} topic @param {any} data */
  _apply(topic, data) {
    const model = this._model;
    if (topic === "status") {
      const before = model.status?.zookeeper?.state;
      model.setStatus(data);
      if (before !== data.zookeeper?.state) this._readHealth();
    } else if (topic === "nodes" || topic === "requests")
      model.change(topic, data.changed, data.gone);
    else if (topic === "providers") model.change(topic, data.providers, data.gone);
    else if (topic === "reload") this._readReloads();
    else if (topic === "history") {
      model.addBucket(data);
      this._historySoon();
    }
  }

  async _readHealth() {
    const life = this._life;
    const health = await api.ready().catch(() => null);
    if (health && life === this._life) this._model.set("health", health);
  }

  async _readReloads() {
    const life = this._life;
    const [reloads, status] = await Promise.all([api.reloads(), api.status()]).catch(() => []);
    if (life !== this._life) return;
    if (reloads) this._model.set("reloads", reloads);
    if (status) this._model.setStatus(status);
  }

  /** Events tell of the newest minute only; what came late to the one before is read now and then. */
  _historySoon() {
    if (this._historyDue) return;
    this._historyDue = true;
    const pause = this._historyRead + HISTORY_AGAIN - Date.now();
    this._later(() => this.readHistory(), Math.max(0, pause));
  }

  /** What no event tells of. */
  async _readSlowOnes() {
    const life = this._life;
    const [images, health] = await Promise.all([api.images(), api.ready()]).catch(() => []);
    if (life !== this._life) return;
    if (images) this._model.set("images", images);
    if (health) this._model.set("health", health);
    // Time goes on in the plots, whether or not anything happens.
    this._model.touch("history");
    this._later(() => this._readSlowOnes(), SLOWLY);
  }

  /** A connection that died without a word is noticed by asking. @param {number} life */
  async _listen(life) {
    if (Date.now() - this._heard >= SILENCE) {
      try {
        const status = await api.status();
        if (life !== this._life) return;
        this._model.setStatus(status);
        this._heard = Date.now();
      } catch {
        if (life === this._life) this._lost(this._heard);
        return;
      }
    }
    this._later(() => this._listen(life), SILENCE);
  }

  // -- without a stream

  /** @param {number} [heard] when the server was last heard of, milliseconds */
  async _lost(heard = Date.now()) {
    this._end();
    const life = this._life;
    if (this._refusals >= 2) {
      const answers = await api.status().then(
        () => true,
        () => false,
      );
      if (life !== this._life) return;
      if (answers) {
        this._later(() => this._open(), STREAM_AGAIN);
        this._poll();
        return;
      }
      this._refusals = 0;
    }
    const pause =
      Math.min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** this._failures) * (0.7 + 0.6 * Math.random());
    this._failures = Math.min(this._failures + 1, 10);
    this._model.setConnection("reconnecting", Date.now() + pause, heard);
    this._later(() => this._open(), pause);
  }

  async _poll() {
    const life = this._life;
    try {
      await this._readAll();
    } catch {
      if (life === this._life) {
        this._refusals = 0;
        this._lost();
      }
      return;
    }
    if (life !== this._life) return;
    this._failures = 0;
    this._model.setConnection("polling");
    this._later(() => this._poll(), POLL_EVERY);
  }

  _seen() {
    if (document.hidden) {
      this._later(() => {
        if (!document.hidden) return;
        this._end();
        this._model.setConnection("paused");
      }, HIDDEN_FOR);
    } else if (this._model.connection.state === "paused") {
      this._open();
    }
  }
}
