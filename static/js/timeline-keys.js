// Keys of the timeline: j and k go from row to row, f to the next failure, g to the next gate; Enter opens.
import { beside, isOurs } from "./keys.js";

const shows = { f: '[data-state="failed"]', g: '[data-kind="gate"]' };

function go(row) {
  if (!row) return false;
  const line = row.querySelector("summary");
  line.focus({ preventScroll: true });
  line.scrollIntoView({ block: "nearest" });
  return true;
}

document.addEventListener("keydown", (event) => {
  if (!document.getElementById("timeline") || !isOurs(event) || document.querySelector(":popover-open, dialog[open]")) return;
  const rows = [...document.querySelectorAll(".span")];
  const here = rows.indexOf(document.activeElement?.closest(".span"));
  let found = false;
  if (event.key === "j" || event.key === "k") found = go(beside(rows, here, event.key));
  else if (shows[event.key]) {
    const wanted = [...rows.slice(here + 1), ...rows.slice(0, here + 1)].filter((row) => row.matches(shows[event.key]));
    found = go(wanted[0]);
  }
  if (found) event.preventDefault();
});

// An address that names a row opens it.
function open() {
  const row = location.hash.startsWith("#row-") && document.getElementById(location.hash.slice(1));
  if (row) { row.querySelector("details").open = true; go(row); }
}
addEventListener("hashchange", open);
open();
for (const tool of document.querySelectorAll("[data-scripted]:not(.brush)")) tool.hidden = false;
