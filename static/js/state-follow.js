// The state panel shows the newest checkpoint, until somebody picks an entry of the timeline.
let due = null;
let newest = 0;

function pick(line) {
  clearTimeout(due);
  due = null;
  for (const old of document.querySelectorAll('.entry-line[aria-current]')) old.removeAttribute("aria-current");
  line?.setAttribute("aria-current", "true");
  const follow = document.getElementById("follow");
  if (follow) follow.hidden = !line;
}

function show(seq) {
  const panel = document.getElementById("state");
  htmx.ajax("GET", panel.dataset.stateUrl.replace(/0\/$/, `${seq}/`), { source: panel, target: "#state", swap: "innerHTML" });
}

document.addEventListener("click", (event) => {
  const line = event.target.closest(".entry-line");
  if (line) pick(line);
  if (line && matchMedia("(max-width: 860px)").matches) document.getElementById("state-title").scrollIntoView();
  if (event.target.id === "follow") {
    pick(null);
    show(document.getElementById("tail").dataset.after);
  }
});

document.addEventListener("holdfast:message", ({ detail }) => {
  const panel = document.getElementById("state");
  const picked = document.querySelector(".entry-line[aria-current]");
  if (!panel || picked || detail.seq === undefined || !detail.content?.includes('data-kind="checkpoint"')) return;
  newest = detail.seq;
  due ??= setTimeout(() => { due = null; show(newest); }, 250);
});
