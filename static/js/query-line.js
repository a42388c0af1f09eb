// Completions of the typed query: a combobox whose choices the server makes.
import { listbox } from "./listbox.js";

const line = document.querySelector("[data-completes]");
const list = document.getElementById("completions");
let asked = 0;
let due = null;

const { chosen, move } = listbox(line, list);

function show(open) {
  list.hidden = !open;
  line.setAttribute("aria-expanded", String(open));
  if (!open) line.removeAttribute("aria-activedescendant");
}

async function complete() {
  const mine = ++asked;
  const address = `${line.dataset.completes}?typed=${encodeURIComponent(line.value.slice(0, line.selectionStart))}`;
  const answer = await fetch(address, { headers: { "HX-Request": "true" } }).catch(() => null);
  if (mine !== asked || !answer?.ok || document.activeElement !== line) return;
  list.innerHTML = await answer.text();
  show(list.children.length > 0);
}

function take(choice) {
  const rest = line.value.slice(line.selectionStart);
  line.value = choice.dataset.text + rest;
  line.setSelectionRange(choice.dataset.text.length, choice.dataset.text.length);
  line.focus();
  complete();
}

line?.addEventListener("input", () => { clearTimeout(due); due = setTimeout(complete, 120); });
line?.addEventListener("click", complete);
line?.addEventListener("blur", () => { asked++; show(false); });
line?.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !list.hidden) { event.preventDefault(); return show(false); }
  if (event.key === "ArrowDown" && list.hidden) { event.preventDefault(); return complete(); }
  if (list.hidden) return;
  if (event.key === "ArrowDown" || event.key === "ArrowUp") { event.preventDefault(); return move(event.key === "ArrowDown" ? 1 : -1); }
  if ((event.key === "Enter" || event.key === "Tab") && chosen()) { event.preventDefault(); take(chosen()); }
});
list?.addEventListener("pointerdown", (event) => {
  event.preventDefault(); // the line keeps the focus
  const choice = event.target.closest("[role=option]");
  if (choice) take(choice);
});
