// Parts of a page that are asked for again when what they show has moved: a filtered timeline, the graph, the logs, the overview.
const SOON = 400; // ms
const LATER = 2_000; // where all runs count
let due = null;

document.addEventListener("holdfast:message", ({ detail }) => {
  if (!detail.content || !document.querySelector("[hx-trigger*='moved from:body']")) return;
  due ??= setTimeout(() => { due = null; htmx.trigger(document.body, "moved"); }, document.getElementById("overview") ? LATER : SOON);
});
