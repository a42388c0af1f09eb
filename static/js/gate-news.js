// The inbox fetches itself again when a gate changes; an open gate page says that it is stale and keeps what was typed.
const counted = document.querySelector("[data-inbox-count]");
if (counted) document.title = `(${counted.dataset.inboxCount}) ${document.title}`;
let due = null;

document.addEventListener("holdfast:message", ({ detail }) => {
  if (!detail.gate) return;
  const own = document.querySelector("#tail[data-gate]");
  if (own && detail.gate.id === own.dataset.gate) {
    const changed = String(detail.gate.version) !== own.dataset.version || detail.gate.status !== own.dataset.status;
    document.getElementById("gate-stale").hidden = !changed;
  }
  clearTimeout(due);
  due = setTimeout(() => htmx.trigger(document.body, "gates-changed"), 80);
});
