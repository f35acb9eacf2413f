// @ts-check
/*
 * Makes elements.  Text goes in as text nodes only: nothing that a server
 * sends is ever read as HTML.
 */

const SVG = "http://www.w3.org/2000/svg";

/**
 * @typedef {Node | string | number | null | undefined | false | any[]} Child lists may hold lists
 */

/** @param {Element} element @param {Child[]} children */
function fill(element, children) {
  for (const child of children) {
    if (child === null || child === undefined || child === false) continue;
    if (Array.isArray(child)) fill(element, child);
    else element.append(child instanceof Node ? child : String(child));
  }
}

/** @param {Element} element @param {Record<string, any>} attributes */
function dress(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") element.addEventListener(name, value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
}

/**
 * An HTML element.  A function among the attributes hears the event of its name.
 * @param {string} name @param {Record<string, any>} [attributes] @param {...Child} children
 * @returns {HTMLElement}
 */
export function h(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  dress(element, attributes);
  fill(element, children);
  return element;
}

/**
 * An SVG element.
 * @param {string} name @param {Record<string, any>} [attributes] @param {...Child} children
 * @returns {SVGElement}
 */
export function svg(name, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, name);
  dress(element, attributes);
  fill(element, children);
  return /** @type {SVGElement} */ (element);
}

/** @param {string} id @returns {HTMLElement} */
export function byId(id) {
  const element = document.getElementById(id);
  if (!element) throw new Error(`the page has no #${id}`);
  return element;
}

/** Change a text only if it changes. @param {Element} element @param {string} text */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/**
 * Put these into an element, in place of what is there.
 * @param {Element} element
 * @param {...Child} children
 */
export function replace(element, ...children) {
  element.replaceChildren();
  fill(element, children);
}

/**
 * Show the children of `parent` for `items`, keeping the elements of items that
 * stay, so that focus, selection and hover survive an update.
 * @template T
 * @param {Element} parent
 * @param {Iterable<T>} items
 * @param {(item: T) => string} key
 * @param {(item: T) => Element} make
 * @param {(element: any, item: T) => void} [update]
 */
export function keyed(parent, items, key, make, update) {
  const wanted = new Map();
  for (const item of items) wanted.set(key(item), item);
  const there = new Map();
  for (const child of [...parent.children]) {
    const name = /** @type {any} */ (child).nodepoolKey;
    if (name !== undefined && wanted.has(name)) there.set(name, child);
    else child.remove();
  }
  let next = parent.firstElementChild;
  for (const [name, item] of wanted) {
    let element = there.get(name);
    if (!element) {
      element = make(item);
      element.nodepoolKey = name;
    }
    update?.(element, item);
    if (element === next) next = element.nextElementSibling;
    else parent.insertBefore(element, next);
  }
}
