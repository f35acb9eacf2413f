// @ts-check
/*
 * A table of any length, of which only the rows in sight are made.
 *
 * Rows have one height; two empty bodies above and below stand for those that
 * are not there.  One row at a time can be reached with the Tab key, the
 * others from there with the arrow keys.
 */
import { h, keyed, replace } from "./dom.js";

/**
 * @template T
 * @typedef {object} Column
 * @property {string} name as the address has it
 * @property {string} title
 * @property {string} [kind] its class
 * @property {(item: T) => string | number | null | undefined} value what it is sorted by
 * @property {(cell: HTMLElement, item: T) => void} draw
 */

const SPARE = 12;
const collator = new Intl.Collator("en", { numeric: true });

/** @template T */
export class WindowedTable {
  /**
   * @param {object} options
   * @param {string} options.caption
   * @param {Column<T>[]} options.columns the first one names the row
   * @param {(item: T) => string} options.key
   * @param {(item: T) => void} options.open
   * @param {(sort: string) => void} options.sorted the visitor wants another order
   */
  constructor({ caption, columns, key, open, sorted }) {
    this._columns = columns;
    this._key = key;
    this._open = open;
    this._sorted = sorted;
    /** @type {T[]} */ this._items = [];
    this._sort = "";
    this._active = 0;
    this._height = 0;
    this._above = h("tbody", { "aria-hidden": "true", class: "gap" });
    this._rows = h("tbody");
    this._below = h("tbody", { "aria-hidden": "true", class: "gap" });
    this._heads = columns.map((column) => this._head(column));
    this._table = h(
      "table",
      { class: "list windowed" },
      h("caption", { class: "hidden-words" }, caption),
      h(
        "colgroup",
        {},
        columns.map((column) => h("col", { class: column.kind ?? "" })),
      ),
      h("thead", {}, h("tr", { "aria-rowindex": "1" }, this._heads)),
      this._above,
      this._rows,
      this._below,
    );
    this._empty = h("p", { class: "empty" });
    this.element = h(
      "div",
      { class: "scroll", role: "region", "aria-label": caption, tabindex: "0" },
      this._table,
      this._empty,
    );
    this._waiting = false;
    this.element.addEventListener("scroll", () => this._soon(), { passive: true });
    this._rows.addEventListener("keydown", (event) => this._key_pressed(event));
    new ResizeObserver(() => this._soon()).observe(this.element);
  }

  /**
   * @param {T[]} items in any order
   * @param {string} sort a column's name, `-` before it for descending
   * @param {string} empty
   */
  show(items, sort, empty) {
    if (sort !== this._sort) {
      this._sort = sort;
      for (const [at, column] of this._columns.entries()) {
        const order =
          sort === column.name ? "ascending" : sort === `-${column.name}` ? "descending" : "none";
        this._heads[at].setAttribute("aria-sort", order);
      }
    }
    this._items = this._ordered(items, sort);
    this._table.setAttribute("aria-rowcount", String(items.length + 1));
    this._empty.hidden = items.length > 0;
    replace(this._empty, empty);
    this._draw();
  }

  /** @param {T[]} items @param {string} sort */
  _ordered(items, sort) {
    const name = sort.replace(/^-/, "");
    const column = this._columns.find((one) => one.name === name) ?? this._columns[0];
    const sign = sort.startsWith("-") ? -1 : 1;
    const pairs = items.map((item) => ({ item, value: column.value(item), key: this._key(item) }));
    pairs.sort(
      (a, b) => sign * compare(a.value, b.value) || (a.key < b.key ? -1 : a.key > b.key ? 1 : 0),
    );
    return pairs.map((pair) => pair.item);
  }

  /** @param {Column<T>} column */
  _head(column) {
    const press = () => this._sorted(this._sort === column.name ? `-${column.name}` : column.name);
    return h(
      "th",
      { scope: "col", class: column.kind ?? "", "aria-sort": "none" },
      h("button", { type: "button", click: press }, column.title),
    );
  }

  _soon() {
    if (this._waiting) return;
    this._waiting = true;
    requestAnimationFrame(() => {
      this._waiting = false;
      this._draw();
    });
  }

  _draw() {
    if (!this._height) {
      this._height = parseFloat(getComputedStyle(this._table).getPropertyValue("--row")) || 28;
    }
    const count = this._items.length;
    const { scrollTop, clientHeight } = this.element;
    const inSight = Math.ceil((clientHeight || 400) / this._height);
    const last = Math.max(0, count - inSight);
    const first = Math.max(0, Math.min(Math.floor(scrollTop / this._height), last) - SPARE);
    const end = Math.min(count, first + inSight + 2 * SPARE);
    this._active = Math.min(Math.max(this._active, 0), Math.max(0, count - 1));
    const reachable =
      this._active >= first && this._active < end ? this._active : Math.min(first + SPARE, end - 1);
    this._above.style.height = `${first * this._height}px`;
    this._below.style.height = `${(count - end) * this._height}px`;
    const rows = [];
    for (let at = first; at < end; at += 1) rows.push({ at, item: this._items[at] });
    keyed(
      this._rows,
      rows,
      ({ item }) => this._key(item),
      () => this._row(),
      (row, { at, item }) => {
        if (row.nodepoolAt !== at) {
          row.nodepoolAt = at;
          row.setAttribute("aria-rowindex", String(at + 2));
        }
        row.firstElementChild.firstElementChild.tabIndex = at === reachable ? 0 : -1;
        if (row.nodepoolItem === item) return;
        row.nodepoolItem = item;
        for (const [index, column] of this._columns.entries()) {
          const cell = row.children[index];
          column.draw(index === 0 ? cell.firstElementChild : cell, item);
        }
      },
    );
  }

  _row() {
    const cells = this._columns.map((column, index) =>
      index === 0
        ? h(
            "th",
            { scope: "row", class: column.kind ?? "" },
            h("button", { type: "button", class: "link id", "aria-haspopup": "dialog" }),
          )
        : h("td", { class: column.kind ?? "" }),
    );
    const row = h("tr", { click: () => this._open(/** @type {any} */ (row).nodepoolItem) }, cells);
    return row;
  }

  /** @param {KeyboardEvent} event */
  _key_pressed(event) {
    const row = /** @type {any} */ (event.target)?.closest("tr");
    if (!row || event.altKey || event.ctrlKey || event.metaKey) return;
    const page = Math.max(1, Math.floor(this.element.clientHeight / this._height) - 2);
    const moves = {
      ArrowDown: 1,
      ArrowUp: -1,
      PageDown: page,
      PageUp: -page,
      Home: -Infinity,
      End: Infinity,
    };
    const move = moves[event.key];
    if (move === undefined) return;
    event.preventDefault();
    this._active = Math.min(this._items.length - 1, Math.max(0, row.nodepoolAt + move));
    const head = this._heads[0].offsetHeight;
    const top = this._active * this._height;
    const { scrollTop, clientHeight } = this.element;
    if (top < scrollTop) this.element.scrollTop = top;
    else if (top + this._height + head > scrollTop + clientHeight)
      this.element.scrollTop = top + this._height + head - clientHeight;
    this._draw();
    for (const one of this._rows.children) {
      if (/** @type {any} */ (one).nodepoolAt === this._active) {
        /** @type {HTMLElement} */ (one.firstElementChild?.firstElementChild).focus({
          preventScroll: true,
        });
      }
    }
  }
}

/** Nothing comes last. @param {any} a @param {any} b */
function compare(a, b) {
  const [noA, noB] = [
    a === null || a === undefined || a === "",
    b === null || b === undefined || b === "",
  ];
  if (noA || noB) return Number(noA) - Number(noB);
  if (typeof a === "number" && typeof b === "number") return a - b;
  const [left, right] = [String(a), String(b)];
  return left === right ? 0 : collator.compare(left, right);
}
