// Keys of the inbox. A key goes to a control, and Enter uses it: nothing is decided by one slip.
import { isOurs, isTyping } from "./keys.js";

let armed = null; // the button that Ctrl+Enter uses from the comment; only what a key has chosen

function arm(button) {
  armed?.removeAttribute("data-armed");
  armed = button;
  armed?.setAttribute("data-armed", "");
}

const shown = (element) => element && element.offsetParent !== null;

function row(step) {
  const rows = [...document.querySelectorAll(".gate-row:not([data-gone])")];
  const here = rows.findIndex((one) => one.hasAttribute("aria-current"));
  return rows[here < 0 ? 0 : Math.min(rows.length - 1, Math.max(0, here + step))];
}

function open(step) {
  const next = row(step);
  next?.scrollIntoView({ block: "nearest" });
  next?.querySelector(".gate-row-link").click();
}

function go(key) {
  const found = [...document.querySelectorAll(`[data-key="${key}"]`)].find(shown);
  if (!found) return;
  if (found.matches("details")) {
    found.open = true;
    found.querySelector("input:not([type=hidden]), textarea, select")?.focus();
  } else if (key === "r") {
    arm(found);
    document.getElementById("comment")?.focus();
  } else {
    found.focus();
    if (key === "/") found.select();
    if (key === "a") document.getElementById("decide-password")?.focus(); // which comes first, where it is wanted
  }
}

document.addEventListener("keydown", (event) => {
  if (!document.querySelector(".inbox")) return;
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && event.target.id === "comment") {
    event.preventDefault();
    const chosen = armed;
    arm(null);
    if (shown(chosen)) chosen.click();
    return;
  }
  if (event.key === "Escape" && isTyping(event)) return event.target.blur(); // which disarms
  if (!isOurs(event)) return;
  if (event.key === "j" || event.key === "k") open(event.key === "j" ? 1 : -1);
  else if (event.key === "x") document.querySelector('.gate-row[aria-current] .gate-row-tick')?.click();
  else if ("aerscu/".includes(event.key)) go(event.key);
  else return;
  event.preventDefault();
});

document.addEventListener("focusout", ({ target }) => { if (target.id === "comment") arm(null); });
document.addEventListener("htmx:after:swap", ({ detail }) => { if (detail.ctx?.target?.id === "gate-pane") arm(null); });

// The bar that decides several together is there while something is ticked.
function ticked() {
  const count = document.querySelectorAll(".gate-row-tick:checked").length;
  document.getElementById("batch")?.toggleAttribute("data-ticked", count > 0);
}
document.addEventListener("change", (event) => { if (event.target.matches(".gate-row-tick")) ticked(); });
document.addEventListener("holdfast:ticked", ticked);
