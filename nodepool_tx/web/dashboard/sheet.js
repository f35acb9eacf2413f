// @ts-check
/*
 * The panel at the side: the explanation of a request, or everything about a
 * node.  What is open is part of the address.
 */
import * as api from "./api.js";
import { byId, h, replace } from "./dom.js";
import { icon } from "./icons.js";
import { labelsOf } from "./requests.js";
import { kindOf } from "./states.js";
import { age, number, plural, text, timeOf } from "./words.js";

const REFRESH = 5000;
/** @type {Record<string, [import("./icons.js").Tone, string]>} */
const EFFECTS = {
  passed: ["good", "passed"],
  waits: ["warn", "waits"],
  refused: ["bad", "refused"],
};
/** Launchers and pools whose satisfied rules are shown. @type {Set<string>} */
const unfolded = new Set();
const TIMES = new Set(["since", "created", "state_time", "created_time"]);

/** @param {import("./model.js").Model} model @param {import("./view.js").View} view */
export function sheet(model, view) {
  const dialog = /** @type {HTMLDialogElement} */ (byId("sheet"));
  const title = byId("sheet-title");
  const body = byId("sheet-body");
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;

  byId("sheet-close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close();
  });
  dialog.addEventListener("close", () => {
    clearTimeout(timer);
    view.set({ open: "" });
  });

  /** @param {string} id */
  const readRequest = async (id) => {
    clearTimeout(timer);
    const mine = `request ${id}`;
    try {
      const found = await api.explanation(id);
      if (view.get("open") !== mine) return;
      replace(body, explanation(found));
    } catch (error) {
      if (view.get("open") !== mine) return;
      const gone = error instanceof api.Refused && error.status === 404;
      const words = gone
        ? "This request is gone: answered, or withdrawn."
        : `No explanation: ${text(/** @type {Error} */ (error).message)}`;
      replace(body, h("p", { class: "empty" }, words));
      if (gone) return;
    }
    timer = setTimeout(() => readRequest(id), REFRESH);
  };

  const open = () => {
    clearTimeout(timer);
    const what = view.get("open");
    const at = what.indexOf(" ");
    const [kind, id] = [what.slice(0, at), what.slice(at + 1)];
    if (kind !== "request" && kind !== "node") {
      if (dialog.open) dialog.close();
      return;
    }
    title.textContent = `${kind === "request" ? "Request" : "Node"} ${id}`;
    if (kind === "request") {
      replace(body, h("p", { class: "empty" }, "Asking the launchers …"));
      readRequest(id);
    } else {
      replace(
        body,
        model.status ? nodeFacts(model.nodes.get(id)) : h("p", { class: "empty" }, "Reading …"),
      );
    }
    if (!dialog.open) dialog.showModal();
    dialog.scrollTop = 0;
  };
  view.on((changed) => {
    if (changed.has("open")) open();
  });
  model.on(["nodes"], () => {
    const what = view.get("open");
    if (dialog.open && what.startsWith("node "))
      replace(body, nodeFacts(model.nodes.get(what.slice(5))));
  });
  return open;
}

/** @param {any} found */
function explanation(found) {
  const request = found.request ?? {};
  const silent = found.silent ?? [];
  return h(
    "div",
    {},
    h("p", { class: "summary" }, text(found.summary)),
    facts([
      ["State", text(request.state)],
      ["Labels", labelsOf(request.labels ?? request.node_types)],
      ["Age", age(request.created ?? request.created_time)],
      ["Requestor", text(request.requestor)],
      ["Tenant", text(request.tenant)],
      ["Wanted at", text(request.provider)],
      ["Priority", text(request.relative_priority)],
      ["Declined by", text(request.declined_by)],
    ]),
    silent.length
      ? h(
          "p",
          { class: "note-line" },
          icon("unknown"),
          `No word from ${silent.map(text).join(", ")}; judged from ZooKeeper and the configuration.`,
        )
      : null,
    (found.pools ?? []).map(poolWords),
    found.pools?.length ? null : h("p", { class: "empty" }, "No pool has to do with it."),
  );
}

/** @param {any} pool */
function poolWords(pool) {
  const name = `${text(pool.provider)}/${text(pool.pool)}`;
  const said = (pool.rules ?? []).some(
    (rule) => rule.effect !== "passed" && rule.words === pool.verdict,
  );
  return h(
    "section",
    { class: "verdict", "aria-label": `Pool ${name}` },
    h(
      "h3",
      {},
      name,
      h(
        "span",
        { class: "facts" },
        text(pool.launcher),
        pool.answered === false ? ", which did not answer" : null,
      ),
    ),
    said ? null : h("p", {}, icon(EFFECTS[pool.effect]?.[0] ?? "unknown"), text(pool.verdict)),
    rulesTable(pool, name, (rule) => rule.effect !== "passed"),
    passedRules(pool, name),
    pool.nodes?.length
      ? h(
          "table",
          { class: "list" },
          h(
            "caption",
            {},
            `${plural(pool.nodes.length + (pool.more_nodes ?? 0), "node")} with its labels`,
          ),
          h(
            "thead",
            { class: "hidden-words" },
            h(
              "tr",
              {},
              ["Node", "State", "Why not"].map((word) => h("th", { scope: "col" }, word)),
            ),
          ),
          h(
            "tbody",
            {},
            pool.nodes.map((node) =>
              h(
                "tr",
                {},
                h("th", { scope: "row", class: "id" }, text(node.node_id) || "–"),
                h(
                  "td",
                  { class: "held" },
                  h("i", { class: `swatch ${kindOf(node.state)}`, "aria-hidden": "true" }),
                  text(node.state),
                ),
                h("td", {}, text(node.words)),
              ),
            ),
          ),
        )
      : null,
    pool.more_nodes ? h("p", { class: "muted" }, `and ${number(pool.more_nodes)} more`) : null,
  );
}

/** @param {any} pool @param {string} name @param {(rule: any) => boolean} wanted */
function rulesTable(pool, name, wanted) {
  const rules = (pool.rules ?? []).filter(wanted);
  if (!rules.length) return null;
  return h(
    "table",
    { class: "list rules" },
    h("caption", { class: "hidden-words" }, `Rules of ${name}`),
    h(
      "thead",
      { class: "hidden-words" },
      h(
        "tr",
        {},
        ["Effect", "Rule", "What it says"].map((word) => h("th", { scope: "col" }, word)),
      ),
    ),
    h(
      "tbody",
      {},
      rules.map((rule) => {
        const [tone, word] = EFFECTS[rule.effect] ?? ["unknown", text(rule.effect)];
        return h(
          "tr",
          { class: rule.effect === "passed" ? "passed" : "holds" },
          h("td", { class: "effect" }, icon(tone), word),
          h("th", { scope: "row" }, text(rule.name)),
          h(
            "td",
            {},
            text(rule.words),
            rule.since ? h("span", { class: "muted" }, " · for ", age(rule.since)) : null,
          ),
        );
      }),
    ),
  );
}

/** Folded, and unfolded again after an update if it was. @param {any} pool @param {string} name */
function passedRules(pool, name) {
  const table = rulesTable(pool, name, (rule) => rule.effect === "passed");
  if (!table) return null;
  const key = `${text(pool.launcher)} ${name}`;
  const count = plural(
    pool.rules.filter((rule) => rule.effect === "passed").length,
    "rule is",
    "rules are",
  );
  return h(
    "details",
    {
      open: unfolded.has(key),
      toggle: (event) => {
        if (event.target.open) unfolded.add(key);
        else unfolded.delete(key);
      },
    },
    h("summary", {}, `${count} satisfied`),
    table,
  );
}

/** @param {[string, any][]} pairs those without a value are left out */
function facts(pairs) {
  return h(
    "dl",
    { class: "facts-list" },
    pairs
      .filter(([, value]) => value !== "" && value !== null && value !== undefined)
      .map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))),
  );
}

/** @param {any} node */
function nodeFacts(node) {
  if (!node) return h("p", { class: "empty" }, "This node is gone.");
  return facts(
    Object.entries(node).map(([key, value]) => {
      const name = key.replaceAll("_", " ");
      if (TIMES.has(key) && typeof value === "number" && value)
        return [name, [age(value), " · ", timeOf(value)]];
      if (typeof value === "boolean") return [name, value ? "yes" : "no"];
      return [name, text(value)];
    }),
  );
}
