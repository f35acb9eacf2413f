// @ts-check
/*
 * Nodes by provider, pool and state: a bar and its numbers for each pool.  A
 * number filters the table of nodes.
 */
import { byId, h, keyed, replace, say } from "./dom.js";
import { wordsFor } from "./filter.js";
import { icon } from "./icons.js";
import { LEGEND, inOrder, kindOf } from "./states.js";
import { number, plural, span, text, timeOf, age } from "./words.js";

/** Lines of trouble of one provider. */
const MOST_TROUBLES = 4;

/** @typedef {{name: string, counts: Map<string, number>, pool: any}} Pool */

/** @param {import("./model.js").Model} model @param {import("./view.js").View} view */
export function fleet(model, view) {
  const body = byId("fleet-body");
  replace(
    byId("fleet-legend"),
    LEGEND.map(([kind, words]) => h("li", {}, h("i", { class: `swatch ${kind}` }), words)),
  );
  const show = (/** @type {Record<string, any>} */ pairs) => {
    view.set({ nodes: wordsFor(pairs) });
    byId("nodes").scrollIntoView({ block: "start" });
    byId("query").focus({ preventScroll: true });
  };

  model.on(["nodes", "providers", "requests"], () => {
    const counts = countNodes(model.nodes.values());
    const wishes = countWishes(model.requests.values());
    const names = [...new Set([...model.providers.keys(), ...counts.keys()])].sort();
    // Bars are as long as their pools are large, by the largest.
    const sums = [...counts.values()].flatMap((pools) => [...pools.values()].map(total));
    const largest = Math.max(1, ...sums);
    keyed(
      body,
      names,
      (name) => name,
      (name) => section(name, show),
      (element, name) =>
        drawProvider(
          element,
          name,
          model.providers.get(name),
          counts.get(name) ?? new Map(),
          wishes,
          largest,
          show,
        ),
    );
    if (!names.length) replace(body, h("p", { class: "empty" }, "No providers."));
  });
}

/** @param {Iterable<any>} nodes @returns {Map<string, Map<string, Map<string, number>>>} */
function countNodes(nodes) {
  const providers = new Map();
  for (const node of nodes) {
    const provider = text(node.provider) || "–";
    const pool = text(node.pool) || "–";
    if (!providers.has(provider)) providers.set(provider, new Map());
    const pools = providers.get(provider);
    if (!pools.has(pool)) pools.set(pool, new Map());
    const states = pools.get(pool);
    states.set(node.state, (states.get(node.state) ?? 0) + 1);
  }
  return providers;
}

/** @typedef {{labels: string[], count: number}} Wish */

/** What is waited for, and how often. @param {Iterable<any>} requests @returns {Wish[]} */
function countWishes(requests) {
  const found = new Map();
  for (const request of requests) {
    if (request.state !== "requested" && request.state !== "pending") continue;
    const key = JSON.stringify(request.labels);
    const wish = found.get(key);
    if (wish) wish.count += 1;
    else found.set(key, { labels: request.labels ?? [], count: 1 });
  }
  return [...found.values()];
}

/** @param {Map<string, number>} counts */
const total = (counts) => [...counts.values()].reduce((sum, count) => sum + count, 0);

/** @param {string} name @param {(pairs: Record<string, any>) => void} show */
function section(name, show) {
  return h(
    "div",
    { class: "provider" },
    h(
      "h3",
      {},
      h("button", { type: "button", class: "link", click: () => show({ provider: name }) }, name),
      h("span", { class: "facts" }),
    ),
    h("ul", { class: "notes" }),
    h("div", { class: "pools" }),
  );
}

/**
 * @param {Element} element @param {string} name @param {any} provider
 * @param {Map<string, Map<string, number>>} counts @param {Wish[]} wishes @param {number} largest
 * @param {(pairs: Record<string, any>) => void} show
 */
function drawProvider(element, name, provider, counts, wishes, largest, show) {
  say(/** @type {Element} */ (element.querySelector(".facts")), factsOf(provider));
  keyed(
    /** @type {Element} */ (element.querySelector(".notes")),
    notesOf(provider),
    (note) => note.tone + note.words,
    (note) =>
      h(
        "li",
        { class: note.tone },
        icon(note.tone),
        h("span", {}, note.words, note.since ? [" · ", age(note.since)] : null),
      ),
  );
  const configured = new Map((provider?.pools ?? []).map((pool) => [pool.name, pool]));
  const names = [...new Set([...configured.keys(), ...counts.keys()])];
  keyed(
    /** @type {Element} */ (element.querySelector(".pools")),
    names.map((pool) => ({
      name: pool,
      pool: configured.get(pool),
      counts: counts.get(pool) ?? new Map(),
    })),
    (pool) => pool.name,
    (pool) =>
      h(
        "div",
        { class: "pool" },
        h(
          "button",
          {
            type: "button",
            class: "link name",
            click: () => show({ provider: name, pool: pool.name }),
          },
          pool.name,
        ),
        h("div", { class: "stack", "aria-hidden": "true" }),
        h("ul", { class: "chips", "aria-label": `${name} ${pool.name} by state` }),
      ),
    (row, pool) => drawPool(row, name, pool, wishes, largest, show),
  );
}

/**
 * @param {Element} row
 * @param {string} provider
 * @param {Pool} pool
 * @param {Wish[]} wishes
 * @param {number} largest
 * @param {(pairs: Record<string, any>) => void} show
 */
function drawPool(row, provider, { name, pool, counts }, wishes, largest, show) {
  const stack = /** @type {HTMLElement} */ (row.querySelector(".stack"));
  const states = inOrder(counts);
  stack.style.setProperty("--share", String(total(counts) / largest));
  keyed(
    stack,
    states,
    ([state]) => state,
    ([state]) =>
      h("i", { class: kindOf(state), click: () => show({ provider, pool: name, state }) }),
    (segment, [state, count]) => {
      segment.style.flexGrow = String(count);
      segment.title = `${number(count)} ${state}`;
    },
  );
  const chips = /** @type {Element} */ (row.querySelector(".chips"));
  const extra = [];
  if (pool?.paused) extra.push("paused: at quota");
  const labels = new Set(pool?.labels ?? []);
  const waiting = wishes.reduce(
    (sum, wish) => (wish.labels.every((label) => labels.has(label)) ? sum + wish.count : sum),
    0,
  );
  if (pool && waiting) extra.push(`${plural(waiting, "request")} could be served here`);
  keyed(
    chips,
    [
      ...states.map(([state, count]) => ({ state, count, words: "" })),
      ...extra.map((words) => ({ state: "", count: 0, words })),
    ],
    (chip) => chip.state || `- ${chip.words}`,
    (chip) =>
      chip.state
        ? h(
            "li",
            {},
            h(
              "button",
              {
                type: "button",
                class: "chip",
                click: () => show({ provider, pool: name, state: chip.state }),
              },
              h("i", { class: `swatch ${kindOf(chip.state)}`, "aria-hidden": "true" }),
              h("b", {}),
              ` ${chip.state}`,
            ),
          )
        : h("li", { class: "muted" }, chip.words),
    (element, chip) => {
      const figure = element.querySelector("b");
      if (figure) say(figure, number(chip.count));
    },
  );
  if (!chips.childElementCount) chips.append(h("li", { class: "muted" }, "no nodes"));
}

/** @param {any} provider @returns {string} */
function factsOf(provider) {
  if (!provider) return "not served by this launcher";
  const facts = [provider.driver];
  if (provider.phase && !["running", "active"].includes(provider.phase)) facts.push(provider.phase);
  if (provider.owner === false) facts.push("stands by");
  else if (typeof provider.owner === "string" && provider.owner)
    facts.push(`owner ${provider.owner}`);
  if (provider.launching) facts.push(`${number(provider.launching)} launching`);
  if (provider.deleting) facts.push(`${number(provider.deleting)} deleting`);
  return facts.map(text).filter(Boolean).join(" · ");
}

/**
 * @param {any} provider
 * @returns {{tone: import("./icons.js").Tone, words: string, since?: number}[]}
 */
function notesOf(provider) {
  if (!provider) return [];
  const notes = [];
  if (provider.maintenance) {
    const { mode, reason, by, since, until } = provider.maintenance;
    notes.push({
      tone: /** @type {const} */ ("off"),
      words: [
        mode === "drain" ? "draining" : "in maintenance",
        reason,
        by && `by ${by}`,
        until && `until ${timeOf(until)}`,
      ]
        .filter(Boolean)
        .map(text)
        .join(" · "),
      since,
    });
  }
  // Hosts out of service are shown as such, further below.
  const out = (provider.hosts ?? [])
    .filter((host) => host.state === "down" || host.maintenance)
    .map((host) => text(host.hostname));
  const troubles = (provider.troubles ?? [])
    .map(lineOf)
    .filter((line) => !out.some((host) => line.includes(host)));
  for (const words of troubles.slice(0, MOST_TROUBLES))
    notes.push({ tone: /** @type {const} */ ("warn"), words });
  if (troubles.length > MOST_TROUBLES)
    notes.push({
      tone: /** @type {const} */ ("warn"),
      words: `and ${number(troubles.length - MOST_TROUBLES)} more`,
    });
  for (const task of provider.tasks ?? []) {
    if (task.seconds >= 60)
      notes.push({
        tone: /** @type {const} */ ("busy"),
        words: `${text(task.what)} for ${span(task.seconds)}`,
      });
  }
  return notes;
}

/** @param {any} value a line, or an object with one */
function lineOf(value) {
  if (value === null || typeof value !== "object") return text(value);
  return text(value.words ?? value.text ?? value.message ?? value.reason ?? value);
}
