// @ts-check
/*
 * The top of the page: which launcher this is, whether it is well, whether the
 * page is up to date, and what is wrong with the configuration.
 */
import { byId, h, keyed, replace, say } from "./dom.js";
import { icon } from "./icons.js";
import { number, plural, span, text, timeOf } from "./words.js";

/** @typedef {import("./icons.js").Tone} Tone */

/** @param {import("./model.js").Model} model @param {import("./stream.js").Live} live */
export function header(model, live) {
  const pills = byId("pills");
  const connection = byId("connection");
  const banners = byId("banners");

  model.on(["status", "health", "connection"], () => {
    const status = model.status;
    if (!status) return;
    say(byId("hostname"), text(status.hostname));
    say(byId("version"), `nodepool_tx ${text(status.version)}`);
    // What was well when it was last seen is not known to be well.
    const stale = model.connection.state === "reconnecting";
    const shown = pillsOf(status, model.health).map((pill) =>
      stale ? { ...pill, tone: /** @type {Tone} */ ("unknown") } : pill,
    );
    keyed(
      pills,
      shown,
      (pill) => pill.name,
      () => h("li", { class: "pill" }),
      paint,
    );
  });

  const drawConnection = () => {
    const [tone, words] = connectionWords(model);
    paint(connection, { tone, words });
    document.body.classList.toggle("stale", tone === "bad");
  };
  model.on(["connection"], drawConnection);

  const drawBanners = () => {
    keyed(
      banners,
      bannersOf(model),
      (one) => one.key,
      (one) => banner(one, live),
      (element, one) => {
        const words = element.querySelector(".words");
        if (words) say(words, one.words);
      },
    );
  };
  model.on(["status", "connection", "reloads"], drawBanners);
  return () => {
    drawConnection();
    drawBanners();
  };
}

/**
 * @param {any} status
 * @param {any} health
 * @returns {{name: string, tone: Tone, words: string, title?: string}[]}
 */
function pillsOf(status, health) {
  const found = [];
  if (health) {
    const reasons = (health.reasons ?? []).map(text);
    found.push({
      name: "ready",
      tone: /** @type {Tone} */ (health.ready ? "good" : "bad"),
      words: health.ready ? "ready" : `not ready: ${reasons.join("; ")}`,
      title: (health.loops ?? [])
        .map(
          (loop) =>
            `${loop.name}: ${loop.healthy ? "well" : "late"}, last ${span(loop.last_success_age ?? NaN)} ago`,
        )
        .join("\n"),
    });
  }
  const zk = status.zookeeper ?? {};
  const latency =
    typeof zk.latency_ms === "number"
      ? ` ${zk.latency_ms.toFixed(zk.latency_ms < 10 ? 1 : 0)} ms`
      : "";
  found.push({
    name: "zookeeper",
    tone: /** @type {Tone} */ (zk.state === "connected" ? "good" : "bad"),
    words: `ZooKeeper ${text(zk.state)}${latency}`,
    title: text(zk.servers),
  });
  if (status.reload?.running)
    found.push({ name: "reload", tone: /** @type {Tone} */ ("busy"), words: "reloading" });
  const components = status.launchers ?? [];
  const kinds = ["launcher", "builder"].map((kind) => [
    kind,
    components.filter((one) => (one.kind ?? "launcher") === kind).length,
  ]);
  if (components.length) {
    found.push({
      name: "launchers",
      tone: /** @type {Tone} */ (
        components.every((one) => one.state === "running") ? "good" : "warn"
      ),
      words: kinds
        .filter(([, count]) => count)
        .map(([kind, count]) => plural(Number(count), String(kind)))
        .join(", "),
      title: components
        .map((one) =>
          [one.kind, one.hostname, one.version, one.state].filter(Boolean).map(text).join(" "),
        )
        .join("\n"),
    });
  }
  return found;
}

/** @param {Element} element @param {{tone: Tone, words: string, title?: string}} pill */
function paint(element, { tone, words, title }) {
  const shown = `${tone} ${words}`;
  const target = /** @type {HTMLElement} */ (element);
  if (title !== undefined && target.title !== title) target.title = title;
  if (target.dataset.shown === shown) return;
  target.dataset.shown = shown;
  target.className = `pill ${tone}`;
  replace(target, icon(tone), words);
}

/** @param {import("./model.js").Model} model @returns {[Tone, string]} */
function connectionWords(model) {
  const { state, since } = model.connection;
  if (state === "live") return ["good", "live"];
  if (state === "polling") return ["warn", "updated every 5 s (no stream)"];
  if (state === "paused") return ["unknown", "paused"];
  if (state === "connecting") return ["busy", "connecting"];
  return ["bad", model.status ? `stale since ${timeOf(since / 1000)}` : "no answer"];
}

/** @typedef {{key: string, tone: Tone, words: string, action?: string}} Banner */

/** @param {import("./model.js").Model} model @returns {Banner[]} */
function bannersOf(model) {
  const found = [];
  const { state, since, retryAt } = model.connection;
  if (state === "reconnecting") {
    const pause = retryAt ? Math.max(0, Math.ceil((retryAt - Date.now()) / 1000)) : 0;
    const again = pause ? `Trying again in ${pause} s` : "Trying again";
    found.push({
      key: "connection",
      tone: /** @type {Tone} */ ("bad"),
      words: `The launcher does not answer; what you see is of ${timeOf(since / 1000)}. ${again}.`,
      action: "Try now",
    });
  }
  const zk = model.status?.zookeeper?.state;
  if (zk && zk !== "connected") {
    found.push({
      key: "zookeeper",
      tone: /** @type {Tone} */ ("bad"),
      words: `The launcher's connection to ZooKeeper is ${text(zk)}; nothing is decided meanwhile.`,
    });
  }
  const errors = model.status?.reload?.errors ?? model.reloads?.errors ?? [];
  for (const error of errors.slice(0, 5)) {
    const words = errorWords(error);
    found.push({
      key: `config ${words}`,
      tone: /** @type {Tone} */ ("bad"),
      words: `Configuration refused, the old one stays in force: ${words}`,
    });
  }
  if (errors.length > 5) {
    found.push({
      key: "config more",
      tone: /** @type {Tone} */ ("bad"),
      words: `… and ${number(errors.length - 5)} more errors in the configuration`,
    });
  }
  return found;
}

/** @param {any} error @returns {string} with file and line, as it came */
export function errorWords(error) {
  if (typeof error === "string") return error;
  const place = [error.file, error.line].filter(
    (part) => part !== null && part !== undefined && part !== "",
  );
  const parts = [place.map(text).join(":"), text(error.path), text(error.message)].filter(Boolean);
  return parts.join(": ") || text(error);
}

/** @param {Banner} one @param {import("./stream.js").Live} live */
function banner(one, live) {
  return h(
    "div",
    { class: `banner ${one.tone}`, role: "alert" },
    icon(one.tone),
    h("span", { class: "words" }, one.words),
    one.action && h("button", { type: "button", click: () => live.again() }, one.action),
  );
}
