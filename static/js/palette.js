// The command palette: Ctrl-K or ⌘K, or its button. What can be done with the run on the page is among it.
import { listbox } from "./listbox.js";

const dialog = document.getElementById("palette");
const line = document.getElementById("palette-line");
const list = document.getElementById("commands");
let asked = 0;
let due = null;

const { all, chosen, choose, move } = listbox(line, list);

// The controls of this page's run, which ask before they do anything.
function here(words) {
  return [...document.querySelectorAll("#run-controls .controls > .button, #run-controls .gate-strip > .button")]
    .filter((button) => words.every((word) => button.textContent.toLowerCase().includes(word)))
    .map((button, index) => {
      const choice = document.createElement("li");
      choice.id = `command-here-${index}`;
      choice.setAttribute("role", "option");
      choice.setAttribute("aria-selected", "false");
      choice.innerHTML = '<span class="command-kind">this run</span><span class="command-label"></span>';
      choice.lastChild.textContent = button.textContent;
      choice.act = () => button.click();
      return choice;
    });
}

async function ask() {
  const mine = ++asked;
  const answer = await fetch(`${line.dataset.commands}?q=${encodeURIComponent(line.value)}`, { headers: { "HX-Request": "true" } }).catch(() => null);
  if (mine !== asked || !answer?.ok) return;
  list.innerHTML = await answer.text();
  list.prepend(...here(line.value.toLowerCase().split(/\s+/).filter(Boolean)));
  choose(all()[0]);
}

function open() {
  if (!dialog || dialog.open) return;
  dialog.showModal();
  line.value = "";
  ask();
}

function take(choice) {
  if (!choice) return;
  dialog.close();
  if (choice.act) choice.act();
  else if (choice.dataset.href) location.assign(choice.dataset.href);
}

document.addEventListener("keydown", (event) => {
  if (event.key.toLowerCase() !== "k" || !(event.ctrlKey || event.metaKey) || event.altKey || event.shiftKey) return;
  event.preventDefault();
  open();
});
document.addEventListener("click", (event) => { if (event.target.closest("[data-palette]")) open(); });
line?.addEventListener("input", () => { clearTimeout(due); due = setTimeout(ask, 100); });
line?.addEventListener("keydown", (event) => {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (step) move(step);
  else if (event.key === "Enter") take(chosen());
  else return;
  event.preventDefault();
});
list?.addEventListener("click", (event) => take(event.target.closest("[role=option]:not([aria-disabled])")));
dialog?.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });

const key = document.querySelector(".command-key kbd");
if (key && /Mac|iP/.test(navigator.platform)) key.textContent = "⌘ K";

// A link to what a dialog asks opens it: /workflows/refund/#hold
function opened() {
  if (location.hash !== "#hold") return;
  document.querySelector('[popover][id^="hold-"]')?.showPopover();
  history.replaceState(history.state, "", location.pathname + location.search); // or the next time would change nothing
}
addEventListener("hashchange", opened);
opened();
