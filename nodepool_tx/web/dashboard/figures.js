// @ts-check
/*
 * The figures that are read from the other side of the room.
 */
import { byId, h, keyed, say } from "./dom.js";
import { icon } from "./icons.js";
import { age, number, setAge } from "./words.js";

/** @param {import("./model.js").Model} model */
export function figures(model) {
  const list = byId("figures");
  model.on(["nodes", "requests", "providers", "history"], () => {
    keyed(
      list,
      figuresOf(model),
      (one) => one.name,
      (one) =>
        h(
          "div",
          { class: "figure" },
          h("dt", {}, one.name),
          h("dd", {}, h("b", {}), h("span", { class: "note" })),
        ),
      (element, one) => {
        element.className = `figure ${one.tone ?? ""}`;
        say(element.querySelector("b"), number(one.value));
        const note = element.querySelector(".note");
        if (one.since) {
          if (!note.firstElementChild) note.replaceChildren("oldest ", age(one.since));
          setAge(note.firstElementChild, one.since);
        } else {
          say(note, one.note ?? "");
        }
        const mark = element.querySelector("svg");
        if (mark && mark.dataset.tone !== one.tone) mark.remove();
        if (one.tone && !element.querySelector("svg")) {
          const made = icon(one.tone);
          made.dataset.tone = one.tone;
          element.querySelector("dt").append(made);
        }
      },
    );
  });
}

/**
 * @param {import("./model.js").Model} model
 * @returns {{name: string, value: number, note?: string, since?: number | null, tone?: "warn" | "bad"}[]}
 */
function figuresOf(model) {
  const states = new Map();
  for (const node of model.nodes.values())
    states.set(node.state, (states.get(node.state) ?? 0) + 1);
  const of = (/** @type {string[]} */ ...names) =>
    names.reduce((sum, name) => sum + (states.get(name) ?? 0), 0);
  const total = model.nodes.size;

  let waiting = 0;
  let served = 0;
  let oldest = Infinity;
  for (const request of model.requests.values()) {
    if (request.state === "requested" || request.state === "pending") {
      waiting += 1;
      if (request.state === "pending") served += 1;
      if (request.created) oldest = Math.min(oldest, request.created);
    }
  }

  let down = 0;
  let maintained = 0;
  let hosts = 0;
  for (const provider of model.providers.values()) {
    for (const host of provider.hosts ?? []) {
      hosts += 1;
      if (host.maintenance || provider.maintenance) maintained += 1;
      else if (host.state === "down") down += 1;
    }
  }

  const [ready, failed] = launchesOfAnHour(model);
  const held = of("hold");
  return [
    { name: "Nodes", value: total, note: held ? `${number(held)} held` : "" },
    {
      name: "In use",
      value: of("in-use"),
      note: total ? `${Math.round((100 * of("in-use")) / total)} %` : "",
    },
    { name: "Ready", value: of("ready") },
    { name: "Building", value: of("init", "building", "testing") },
    {
      name: "Requests",
      value: waiting,
      since: waiting ? oldest : null,
      note: served ? "" : "none waits",
    },
    {
      name: "Hosts down",
      value: down,
      note: maintained
        ? `${number(maintained)} in maintenance`
        : hosts
          ? `of ${number(hosts)}`
          : "no static hosts",
      tone: down ? "bad" : undefined,
    },
    {
      name: "Failed launches",
      value: failed,
      note: `of ${number(ready + failed)} in the last hour`,
      tone: failed > 0.1 * (ready + failed) ? "warn" : undefined,
    },
  ];
}

/** @param {import("./model.js").Model} model @returns {[number, number]} */
function launchesOfAnHour(model) {
  let ready = 0;
  let failed = 0;
  const from = (model.status?.now ?? Date.now() / 1000) - 3600;
  for (const buckets of Object.values(model.history?.launches ?? {})) {
    for (const bucket of buckets) {
      if (bucket.at < from) continue;
      ready += bucket.ready ?? 0;
      failed += bucket.failed ?? 0;
    }
  }
  return [ready, failed];
}
