// @ts-check
/*
 * Puts the page together: the model, what keeps it up to date, and the views.
 */
import { images, reloads } from "./changes.js";
import { byId } from "./dom.js";
import { figures } from "./figures.js";
import { fleet } from "./fleet.js";
import { header } from "./header.js";
import { hosts } from "./hosts.js";
import { Model } from "./model.js";
import { nodes } from "./nodes.js";
import { quota } from "./quota.js";
import { requests } from "./requests.js";
import { sheet } from "./sheet.js";
import { Live } from "./stream.js";
import { minutesOf, trends } from "./trends.js";
import { View } from "./view.js";
import { plural, text, tick } from "./words.js";

const model = new Model();
const view = new View();
const live = new Live(model, () => minutesOf(view));

const redrawHeader = header(model, live);
figures(model);
requests(model, (id) => view.set({ open: `request ${id}` }));
fleet(model, view);
hosts(model, view);
quota(model);
trends(model, view, live);
nodes(model, view);
reloads(model);
images(model);
const openSheet = sheet(model, view);

model.on(["requests", "status", "connection"], () => {
  const waiting = [...model.requests.values()].filter(
    (one) => one.state === "requested" || one.state === "pending",
  ).length;
  const state =
    model.connection.state === "reconnecting"
      ? "stale · "
      : waiting
        ? `${plural(waiting, "request")} · `
        : "";
  document.title = `${state}nodepool ${text(model.status?.hostname)}`.trim();
});

for (const link of document.querySelectorAll("[data-skip]")) {
  link.addEventListener("click", (event) => {
    event.preventDefault();
    const target = byId(/** @type {HTMLElement} */ (link).dataset.skip ?? "");
    target.scrollIntoView();
    target.focus();
  });
}

setInterval(() => {
  if (document.hidden) return;
  tick();
  if (model.connection.state === "reconnecting") redrawHeader();
}, 1000);

live.start();
openSheet();
