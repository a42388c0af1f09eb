// The list of branches fetches itself again when the journal tells of some, at most once a second.
const PAUSE = 1000;
let due = null;

document.addEventListener("holdfast:message", ({ detail }) => {
  if (!document.getElementById("branches") || !/data-kind="(fan_out|branch|attempt_failed|worker_lost|verified|slept|signal|gate_opened|gate_reopened|decided|held|released|retried|ended)"/.test(detail.content ?? "")) return;
  due ??= setTimeout(() => { due = null; htmx.trigger(document.body, "branches-moved"); }, PAUSE);
});
