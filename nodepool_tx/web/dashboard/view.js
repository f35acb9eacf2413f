// @ts-check
/*
 * What the visitor looks at, kept in the address behind `#`, so that a view
 * can be linked and comes back after a reload of the page.
 */

const DEFAULTS = { nodes: "", sort: "state", span: "240", open: "" };

/** @typedef {keyof typeof DEFAULTS} Setting */

export class View {
  constructor() {
    /** @type {((changed: Set<Setting>) => void)[]} */ this._observers = [];
    this._values = this._read();
    addEventListener("hashchange", () => this._follow());
  }

  /** @param {Setting} name @returns {string} */
  get(name) {
    return this._values[name];
  }

  /** @param {Partial<Record<Setting, string>>} settings */
  set(settings) {
    this._take({ ...this._values, ...settings });
    const words = new URLSearchParams();
    for (const [name, value] of Object.entries(this._values)) {
      if (value !== DEFAULTS[/** @type {Setting} */ (name)]) words.set(name, value);
    }
    const hash = words.toString();
    history.replaceState(null, "", hash ? `#${hash}` : location.pathname + location.search);
  }

  /** @param {(changed: Set<Setting>) => void} observer */
  on(observer) {
    this._observers.push(observer);
  }

  _read() {
    const words = new URLSearchParams(location.hash.slice(1));
    /** @type {Record<string, string>} */
    const values = { ...DEFAULTS };
    for (const name of Object.keys(DEFAULTS)) values[name] = words.get(name) ?? values[name];
    return values;
  }

  _follow() {
    this._take(this._read());
  }

  /** @param {Record<string, string>} values */
  _take(values) {
    const changed = /** @type {Set<Setting>} */ (
      new Set(Object.keys(values).filter((name) => values[name] !== this._values[name]))
    );
    this._values = values;
    if (changed.size) for (const observer of this._observers) observer(changed);
  }
}
