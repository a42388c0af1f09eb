// An open gate that changes says so, and keeps what was typed. Rows of the inbox change in place; new ones are announced.
const counted = () => document.querySelector("[data-mine]") ?? document.querySelector("[data-inbox-count]");
const plain = document.title.replace(/^\(\d+\+?\) /, "");
let due = null;

function title() {
  const count = counted()?.dataset.mine ?? counted()?.dataset.inboxCount;
  document.title = (count && count !== "0" ? `(${count}) ` : "") + plain;
}

async function fetched(list) {
  if (!list.dataset.list) return null; // a later page of it
  const answer = await fetch(list.dataset.list, { headers: { "HX-Request": "true", "HX-Target": "div#gates" } }).catch(() => null);
  if (!answer?.ok) return null;
  const fresh = document.createElement("div");
  fresh.innerHTML = await answer.text();
  return fresh;
}

// What the server would show now: rows that are gone are dimmed where they stand, so that nothing moves under the pointer.
async function look() {
  const list = document.getElementById("gates");
  const fresh = await fetched(list);
  if (!fresh) return;
  list.querySelector(".tabs").replaceWith(fresh.querySelector(".tabs").cloneNode(true));
  title();
  const rows = new Map([...fresh.querySelectorAll(".gate-row")].map((row) => [row.id, row]));
  const shown = [...list.querySelectorAll(".gate-row")];
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
  document.dispatchEvent(new Event("holdfast:ticked"));
}

function replace(fresh) {
  const list = document.getElementById("gates");
  list.replaceChildren(...fresh.childNodes);
  title();
  htmx.process(list);
  document.getElementById("inbox-news").hidden = true;
  document.dispatchEvent(new Event("holdfast:ticked"));
}

document.addEventListener("holdfast:message", ({ detail }) => {
  if (!detail.gate) return;
  const own = document.querySelector(`.gate[data-gate="${detail.gate.id}"]`);
  if (own) {
    const changed = String(detail.gate.version) !== own.dataset.version || detail.gate.status !== own.dataset.status;
    document.getElementById("gate-stale").hidden = !changed;
  }
  if (!document.getElementById("gates")) return;
  clearTimeout(due);
  due = setTimeout(look, 120);
});

document.addEventListener("click", async (event) => {
  if (!event.target.closest("#inbox-news")) return;
  const fresh = await fetched(document.getElementById("gates"));
  if (fresh) replace(fresh);
});

// After a decision the list is looked at anew, and the row of the gate that is open is marked.
document.addEventListener("htmx:after:swap", () => {
  const open = document.querySelector("#gate-pane .gate")?.dataset.gate;
  for (const row of document.querySelectorAll(".gate-row")) row.toggleAttribute("aria-current", row.id === `gate-${open}`);
  if (open) document.getElementById(`gate-${open}`)?.setAttribute("aria-current", "true");
});
title();
