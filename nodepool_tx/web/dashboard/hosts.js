// @ts-check
/*
 * Static hosts: those that are down or in maintenance first, each with its
 * reason and for how long; the others as tiles that show their slots.
 */
import { byId, h, keyed, replace, say } from "./dom.js";
import { wordsFor } from "./filter.js";
import { icon } from "./icons.js";
import { age, number, plural, setAge, text, timeOf } from "./words.js";

/** Tiles of one provider, and hosts in trouble, before one has to ask for more. */
const FIRST_TILES = 240;
const FIRST_TROUBLED = 100;

/** @typedef {{key: string, provider: string, host: any, state: string, maintenance: any}} Host */

const RANK = { down: 0, maintenance: 1, unknown: 2, up: 3 };
const TONES = /** @type {Record<string, import("./icons.js").Tone>} */ ({
  down: "bad",
  maintenance: "off",
  unknown: "unknown",
  up: "good",
});

/** @param {import("./model.js").Model} model @param {import("./view.js").View} view */
export function hosts(model, view) {
  const body = byId("hosts-body");
  const section = byId("hosts");
  const troubled = h("ul", { class: "troubled", "aria-label": "Hosts that are not in service" });
  const groups = h("div", { class: "groups" });
  const moreTroubled = h("button", {
    type: "button",
    class: "quiet more",
    click: () => {
      allTroubled = true;
      draw();
    },
  });
  let allTroubled = false;
  body.append(troubled, moreTroubled, groups);
  /** @type {Set<string>} */
  const opened = new Set();
  const show = (/** @type {Host} */ one) => {
    view.set({ nodes: wordsFor({ provider: one.provider, host: one.host.hostname }) });
    byId("nodes").scrollIntoView({ block: "start" });
    byId("query").focus({ preventScroll: true });
  };

  const draw = () => {
    const all = hostsOf(model);
    section.hidden = !all.length;
    say(byId("hosts-count"), summary(all));
    const out = all.filter((one) => one.state !== "up");
    const shown = allTroubled ? out : out.slice(0, FIRST_TROUBLED);
    moreTroubled.hidden = shown.length === out.length;
    say(moreTroubled, `Show all ${number(out.length)}`);
    keyed(
      troubled,
      shown,
      (one) => one.key,
      (one) => troubleRow(one, show),
      updateTrouble,
    );
    troubled.hidden = !troubled.childElementCount;
    const up = new Map();
    for (const one of all) {
      if (one.state !== "up") continue;
      if (!up.has(one.provider)) up.set(one.provider, []);
      up.get(one.provider).push(one);
    }
    keyed(
      groups,
      up,
      ([provider]) => provider,
      ([provider]) =>
        h(
          "div",
          {},
          h("h3", {}, provider, " ", h("span", { class: "facts" })),
          h("ul", { class: "tiles", "aria-label": `Hosts of ${provider} in service` }),
          h("button", {
            type: "button",
            class: "quiet more",
            click: () => {
              opened.add(provider);
              draw();
            },
          }),
        ),
      (element, [provider, mine]) => drawGroup(element, mine, opened.has(provider), show),
    );
  };
  model.on(["providers"], draw);
}

/** @param {import("./model.js").Model} model @returns {Host[]} troubled first, then by name */
function hostsOf(model) {
  /** @type {Host[]} */
  const found = [];
  for (const provider of model.providers.values()) {
    for (const host of provider.hosts ?? []) {
      const maintenance = host.maintenance ?? provider.maintenance ?? null;
      const state = maintenance ? "maintenance" : host.state in RANK ? host.state : "unknown";
      const key = [provider.name, host.pool, host.hostname, host.port, host.username]
        .map(text)
        .join("\n");
      found.push({ key, provider: provider.name, host, state, maintenance });
    }
  }
  const names = new Intl.Collator("en", { numeric: true });
  return found.sort(
    (a, b) =>
      RANK[a.state] - RANK[b.state] || names.compare(text(a.host.hostname), text(b.host.hostname)),
  );
}

/** @param {Host[]} all */
function summary(all) {
  const counts = { down: 0, maintenance: 0, unknown: 0, up: 0 };
  for (const one of all) counts[one.state] += 1;
  const words = { down: "down", maintenance: "in maintenance", unknown: "unknown", up: "up" };
  return Object.keys(RANK)
    .filter((state) => counts[state])
    .map((state) => `${number(counts[state])} ${words[state]}`)
    .join(", ");
}

/** @param {Host} one @param {(one: Host) => void} show */
function troubleRow(one, show) {
  return h(
    "li",
    {},
    h("span", { class: "state" }),
    h("button", { type: "button", class: "link", click: () => show(one) }, nameOf(one)),
    h("span", { class: "reason" }),
    age(null),
    h(
      "span",
      { class: "muted where" },
      [one.provider, one.host.pool].map(text).filter(Boolean).join("/"),
    ),
  );
}

/** @param {Element} element @param {Host} one */
function updateTrouble(element, one) {
  element.className = one.state;
  const state = /** @type {HTMLElement} */ (element.querySelector(".state"));
  const { maintenance } = one;
  const word =
    one.state === "maintenance"
      ? maintenance.mode === "drain"
        ? "draining"
        : "maintenance"
      : one.state;
  if (state.dataset.shown !== word) {
    state.dataset.shown = word;
    replace(state, icon(TONES[one.state]), word);
  }
  const reason = maintenance
    ? [
        maintenance.reason || "no reason given",
        maintenance.by && `by ${maintenance.by}`,
        maintenance.until && `until ${timeOf(maintenance.until)}`,
      ]
    : [
        withoutPlace(one.host) ||
          (one.state === "unknown" ? "not looked at yet" : "no reason given"),
      ];
  const busy = one.host.used ? plural(one.host.used, "slot still used", "slots still used") : "";
  say(
    /** @type {Element} */ (element.querySelector(".reason")),
    [...reason, busy].filter(Boolean).map(text).join(" · "),
  );
  setAge(
    /** @type {HTMLElement} */ (element.querySelector("time")),
    maintenance ? maintenance.since : one.host.since,
  );
}

/** A reason often begins with the host, which stands beside it. @param {any} host */
function withoutPlace(host) {
  const reason = text(host.reason);
  const place = [`${text(host.hostname)}:${text(host.port)}: `, `${text(host.hostname)}: `].find(
    (words) => reason.startsWith(words),
  );
  return place ? reason.slice(place.length) : reason;
}

/** @param {Host} one */
function nameOf({ host }) {
  const standard = [22, null, undefined, ""].includes(host.port);
  return text(host.hostname) + (standard ? "" : `:${text(host.port)}`);
}

/**
 * @param {Element} element
 * @param {Host[]} mine
 * @param {boolean} all
 * @param {(one: Host) => void} show
 */
function drawGroup(element, mine, all, show) {
  const free = mine.reduce((sum, one) => sum + (one.host.free ?? 0), 0);
  const slots = mine.reduce((sum, one) => sum + (one.host.slots ?? 0), 0);
  say(
    /** @type {Element} */ (element.querySelector(".facts")),
    `${plural(mine.length, "host")} · ${number(free)} of ${plural(slots, "slot")} free`,
  );
  const shown = all ? mine : mine.slice(0, FIRST_TILES);
  const domain = commonDomain(mine);
  keyed(
    /** @type {Element} */ (element.querySelector(".tiles")),
    shown,
    (one) => one.key,
    (one) =>
      h(
        "li",
        {},
        h(
          "button",
          { type: "button", class: "tile", click: () => show(one) },
          h("span", { class: "name" }),
          h("span", { class: "slots" }),
        ),
      ),
    (tile, one) => updateTile(tile, one, domain),
  );
  const more = /** @type {HTMLElement} */ (element.querySelector(".more"));
  more.hidden = shown.length === mine.length;
  if (!more.hidden) say(more, `Show all ${number(mine.length)}`);
}

/** What all their names end with, from a dot on; it is left out on tiles. @param {Host[]} mine */
function commonDomain(mine) {
  const names = mine.map((one) => text(one.host.hostname));
  if (names.length < 2 || names.some((name) => /^[\d.]+$|:/.test(name))) return "";
  const at = names[0].indexOf(".");
  const domain = at > 0 ? names[0].slice(at) : "";
  return domain && names.every((name) => name.length > domain.length && name.endsWith(domain))
    ? domain
    : "";
}

/** @param {Element} element @param {Host} one @param {string} domain */
function updateTile(element, one, domain) {
  const { slots = 0, free = 0, used = 0, labels } = one.host;
  const shown = `${slots} ${free} ${used} ${domain}`;
  const tile = /** @type {HTMLElement} */ (element.firstElementChild);
  if (tile.dataset.shown === shown) return;
  tile.dataset.shown = shown;
  const other = Math.max(0, slots - free - used);
  const name = nameOf(one);
  say(/** @type {Element} */ (tile.firstElementChild), domain ? name.replace(domain, "") : name);
  const between = other ? `, ${other} between jobs` : "";
  tile.title = [
    name,
    text(labels),
    `${plural(slots, "slot")}: ${used} used, ${free} free${between}`,
    one.host.since ? `up since ${timeOf(one.host.since)}` : "",
  ].join("\n");
  const pips = /** @type {Element} */ (tile.querySelector(".slots"));
  const words = h("span", { class: "hidden-words" }, `, ${used} of ${plural(slots, "slot")} used`);
  if (slots > 8) {
    replace(pips, `${used}/${slots}`, words);
    return;
  }
  const kinds = [
    ...Array(used).fill("used"),
    ...Array(other).fill("other"),
    ...Array(free).fill("free"),
  ].slice(0, slots);
  replace(
    pips,
    kinds.map((kind) => h("i", { class: kind, "aria-hidden": "true" })),
    words,
  );
}
