// Keys of the timeline: j and k go from row to row, f to the next failure, g to the next gate; Enter opens.
const TYPING = "input:not([type=checkbox]), textarea, select, [contenteditable]";
const shows = { f: '[data-state="failed"]', g: '[data-kind="gate"]' };

function go(row) {
  if (!row) return false;
  const line = row.querySelector("summary");
  line.focus({ preventScroll: true });
  line.scrollIntoView({ block: "nearest" });
  return true;
}

document.addEventListener("keydown", (event) => {
  if (!document.getElementById("timeline") || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.matches(TYPING) || document.querySelector(":popover-open, dialog[open]")) return;
  const rows = [...document.querySelectorAll(".span")];
  const here = rows.indexOf(document.activeElement?.closest(".span"));
  let found = false;
  if (event.key === "j") found = go(rows[Math.min(rows.length - 1, here + 1)]);
  else if (event.key === "k") found = go(rows[Math.max(0, here < 0 ? rows.length - 1 : here - 1)]);
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
