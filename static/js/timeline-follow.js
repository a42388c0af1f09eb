// Parts of a run's page that are asked for again when its journal has grown: a filtered timeline, the graph, the logs.
let due = null;

document.addEventListener("holdfast:message", ({ detail }) => {
  if (!detail.content || !document.querySelector("[hx-trigger~='timeline-moved']")) return;
  due ??= setTimeout(() => { due = null; htmx.trigger(document.body, "timeline-moved"); }, 400);
});
