// The state panel shows the newest checkpoint, until somebody picks an entry of the timeline.
let picked = false;
let due = null;

document.addEventListener("click", (event) => { if (event.target.closest(".entry-line")) picked = true; });
document.addEventListener("holdfast:message", ({ detail }) => {
  const panel = document.getElementById("state");
  if (!panel || picked || detail.seq === undefined || !detail.content?.includes('data-kind="checkpoint"')) return;
  clearTimeout(due);
  due = setTimeout(() => htmx.ajax("GET", panel.dataset.stateUrl.replace(/0\/$/, `${detail.seq}/`), { target: "#state", swap: "innerHTML" }), 250);
});
