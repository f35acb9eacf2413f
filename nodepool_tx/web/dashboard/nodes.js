// @ts-check
/*
 * The table of all nodes, with the filter above it.
 */
import { byId, h, replace, say } from "./dom.js";
import { filterOf } from "./filter.js";
import { kindOf, orderOf } from "./states.js";
import { WindowedTable } from "./table.js";
import { age, number, plural, setAge, text } from "./words.js";

const TYPING = 120;

/** @param {(node: any) => unknown} value @returns {(cell: HTMLElement, node: any) => void} */
const plain = (value) => (cell, node) => {
  const words = text(value(node));
  say(cell, words);
  cell.title = words;
};

/** @param {any} node the name if it has one, else an address */
const placeOf = (node) => node.hostname || node.public_ipv4 || node.private_ipv4 || node.ipv6 || "";

/** @type {import("./table.js").Column<any>[]} */
const COLUMNS = [
  {
    name: "id",
    title: "Node",
    kind: "c-id",
    value: (n) => n.id,
    draw: (cell, n) => say(cell, text(n.id)),
  },
  {
    name: "state",
    title: "State",
    kind: "c-state",
    value: (n) => orderOf(n.state),
    draw: (cell, n) =>
      replace(
        cell,
        h("i", { class: `swatch ${kindOf(n.state)}`, "aria-hidden": "true" }),
        text(n.state),
        n.locked ? h("span", { class: "lock" }, "locked") : null,
      ),
  },
  {
    name: "age",
    title: "For",
    kind: "c-since",
    value: (n) => (n.since ? -n.since : null),
    draw: (cell, n) => {
      if (!cell.firstElementChild) cell.append(age(null));
      setAge(/** @type {HTMLElement} */ (cell.firstElementChild), n.since);
    },
  },
  {
    name: "provider",
    title: "Provider",
    kind: "c-provider",
    value: (n) => `${text(n.provider)}/${text(n.pool)}`,
    draw: plain((n) => [n.provider, n.pool].filter(Boolean).join("/")),
  },
  {
    name: "labels",
    title: "Labels",
    kind: "c-labels",
    value: (n) => text(n.labels),
    draw: plain((n) => n.labels),
  },
  { name: "host", title: "Host", kind: "c-host", value: (n) => placeOf(n), draw: plain(placeOf) },
  { name: "az", title: "Zone", kind: "c-az", value: (n) => n.az, draw: plain((n) => n.az) },
  {
    name: "request",
    title: "Request",
    kind: "c-allocated",
    value: (n) => n.allocated_to,
    draw: plain((n) => n.allocated_to),
  },
  {
    name: "comment",
    title: "Comment",
    kind: "c-comment",
    value: (n) => n.hold_job || n.comment,
    draw: plain((n) => [n.hold_job, n.comment].filter(Boolean).join(": ")),
  },
];

/** @param {import("./model.js").Model} model @param {import("./view.js").View} view */
export function nodes(model, view) {
  const query = /** @type {HTMLInputElement} */ (byId("query"));
  const table = new WindowedTable({
    caption: "Table of nodes",
    columns: COLUMNS,
    key: (node) => node.id,
    open: (node) => view.set({ open: `node ${node.id}` }),
    sorted: (sort) => view.set({ sort }),
  });
  byId("nodes-body").append(table.element);

  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let typing;
  query.value = view.get("nodes");
  query.addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(() => view.set({ nodes: query.value.trim() }), TYPING);
  });
  byId("filter").addEventListener("submit", (event) => {
    event.preventDefault();
    clearTimeout(typing);
    view.set({ nodes: query.value.trim() });
  });
  view.on((changed) => {
    if (changed.has("nodes") && query.value.trim() !== view.get("nodes"))
      query.value = view.get("nodes");
    if (changed.has("nodes") || changed.has("sort")) model.touch("view");
  });

  model.on(["nodes", "view"], () => {
    const all = [...model.nodes.values()];
    const filter = filterOf(view.get("nodes"));
    const found = filter ? all.filter(filter) : all;
    say(
      byId("nodes-count"),
      filter ? `${number(found.length)} of ${plural(all.length, "node")}` : number(all.length),
    );
    table.show(
      found,
      view.get("sort"),
      filter ? "No node fits the filter." : "There are no nodes.",
    );
  });
}
