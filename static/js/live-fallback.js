// While no socket can be had, the page asks for itself, at once and every 5 s, as long as nobody is typing in it.
const PARTS = ["run-header", "rows", "rows-open", "journal", "runs", "overview", "workers", "graph"];
let timer = null;

const isBusy = () => document.querySelector(":popover-open, dialog[open]") || document.activeElement?.matches("input, textarea, select");

async function look() {
  if (document.hidden || isBusy()) return;
  const answer = await fetch(location.href, { redirect: "manual" }).catch(() => null);
  if (!answer?.ok) return document.dispatchEvent(new CustomEvent("holdfast:cut"));
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const id of PARTS) {
    const [old, part] = [document.getElementById(id), fresh.getElementById(id)];
    if (!old || !part) continue;
    old.replaceWith(part);
    htmx.process(part);
  }
  const tail = fresh.getElementById("tail");
  if (tail) Object.assign(document.getElementById("tail").dataset, { after: tail.dataset.after ?? "", status: tail.dataset.status ?? "" });
  document.dispatchEvent(new CustomEvent("holdfast:refreshed"));
  document.dispatchEvent(new CustomEvent("htmx:after:swap", { detail: {} }));
}

document.addEventListener("holdfast:paused", () => {
  if (timer) return;
  timer = setInterval(look, 5_000);
  look();
});
document.addEventListener("holdfast:resumed", () => { clearInterval(timer); timer = null; });
