// Whoever really has a gate before them says so, and sees who else has.
const EVERY = 15_000;

function look() {
  const place = document.getElementById("looking");
  if (place?.offsetParent && !document.hidden) htmx.ajax("POST", place.dataset.presence, { source: place, target: place, swap: "innerHTML" });
}

setInterval(look, EVERY);
document.addEventListener("htmx:after:swap", ({ detail }) => { if (detail.ctx?.target?.id === "gate-pane") look(); });
document.addEventListener("DOMContentLoaded", look); // htmx comes after these scripts
