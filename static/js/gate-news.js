// An open gate that changes says so, and keeps what was typed. Rows of the inbox change in place; new ones are announced.
import { tick } from "./local-time.js";

const PARTS = [".gate-left", ".story", ".gate-votes", ".gate-claimant"]; // of an open gate, that change while its proposal does not
let plain = document.title.replace(/^\(\d+\+?\) /, "");
let due = null;
let dueOwn = null;

function title() {
  const badge = document.querySelector("[data-inbox-count]");
  const count = document.querySelector("[data-mine]")?.dataset.mine;
  if (badge && count !== undefined) {
    badge.dataset.inboxCount = badge.textContent = count;
    badge.hidden = count === "0";
  }
  const shown = badge?.dataset.inboxCount;
  document.title = (shown && shown !== "0" ? `(${shown}) ` : "") + plain;
}

async function fetched(address, target) {
  const headers = { "HX-Request": "true", "HX-Target": target };
  const answer = await fetch(address, { headers, redirect: "manual" }).catch(() => null); // not to the sign-in page
  if (!answer?.ok) return null;
  const fresh = document.createElement("div");
  fresh.innerHTML = await answer.text();
  tick(fresh);
  return fresh;
}

const list = () => document.getElementById("gates");
const freshList = () => (list()?.dataset.list ? fetched(list().dataset.list, "div#gates") : null); // a later page stays as it is

// What the server would show now: rows that are gone are dimmed where they stand, so that nothing moves under the pointer.
async function look() {
  const fresh = await freshList();
  if (!fresh?.querySelector(".tabs")) return;
  list().querySelector(".tabs").replaceWith(fresh.querySelector(".tabs").cloneNode(true));
  title();
  const rows = new Map([...fresh.querySelectorAll(".gate-row")].map((row) => [row.id, row]));
  const shown = [...list().querySelectorAll(".gate-row")];
  if (!shown.length) return replace(fresh); // nothing that could move
  for (const row of shown) {
    const now = rows.get(row.id);
    row.toggleAttribute("data-gone", !now);
    if (now) {
      for (const part of [".gate-row-facts", ".gate-row-time", ".gate-row-title"]) {
        const [old, next] = [row.querySelector(part), now.querySelector(part)];
        if (old.innerHTML !== next.innerHTML) old.innerHTML = next.innerHTML;
      }
      rows.delete(row.id);
    }
  }
  const news = document.getElementById("inbox-news");
  news.hidden = !rows.size;
  news.querySelector("[data-count]").textContent = rows.size;
}

function replace(fresh) {
  const ticked = [...list().querySelectorAll(".gate-row-tick:checked")].map((box) => box.value);
  list().replaceChildren(...fresh.childNodes);
  for (const box of list().querySelectorAll(".gate-row-tick")) box.checked = ticked.includes(box.value);
  title();
  mark();
  htmx.process(list());
  document.getElementById("inbox-news").hidden = true;
  document.dispatchEvent(new Event("holdfast:ticked"));
}

// Votes, claims and words of others, and the clock of another level.
async function lookAtOwn(gate) {
  const fresh = await fetched(`/gates/${gate}/`, "section#gate-pane");
  const here = document.querySelector(`.gate[data-gate="${gate}"]`);
  const now = fresh?.querySelector(".gate");
  if (!here || !now || now.dataset.version !== here.dataset.version || now.dataset.status !== here.dataset.status) return;
  for (const part of PARTS) {
    const [old, next] = [here.querySelector(part), now.querySelector(part)];
    if (old && next && old.innerHTML !== next.innerHTML) old.innerHTML = next.innerHTML;
  }
}

document.addEventListener("holdfast:message", ({ detail }) => {
  if (!detail.gate) return;
  const own = document.querySelector(`.gate[data-gate="${detail.gate.id}"]`);
  if (own) {
    const changed = String(detail.gate.version) !== own.dataset.version || detail.gate.status !== own.dataset.status;
    document.getElementById("gate-stale").hidden = !changed;
    clearTimeout(dueOwn);
    if (!changed) dueOwn = setTimeout(() => lookAtOwn(detail.gate.id), 120);
  }
  if (!list()) return;
  clearTimeout(due);
  due = setTimeout(look, 120);
});

document.addEventListener("click", async (event) => {
  if (!event.target.closest("#inbox-news")) return;
  const fresh = await freshList();
  if (fresh) replace(fresh);
});

// The row of the gate that is open is marked; after an act of one's own the list is looked at anew.
function mark() {
  const open = document.querySelector("#gate-pane .gate")?.dataset.gate;
  for (const row of document.querySelectorAll(".gate-row")) {
    if (row.id === `gate-${open}`) row.setAttribute("aria-current", "true");
    else row.removeAttribute("aria-current");
  }
}

document.addEventListener("htmx:after:swap", ({ detail }) => {
  if (detail.ctx?.target?.id !== "gate-pane") return;
  mark();
  if (detail.ctx.request.method !== "GET") look();
});
document.addEventListener("holdfast:mine", ({ detail }) => {
  const badge = document.querySelector("[data-inbox-count]");
  if (!badge || document.querySelector("[data-mine]")) return; // the inbox counts by itself
  badge.dataset.inboxCount = badge.textContent = detail.count;
  badge.hidden = detail.count === "0";
  title();
});
document.addEventListener("holdfast:title", ({ detail }) => { plain = detail; title(); });
title();
