// The socket of a page. After a cut it comes back with the last seq it has seen, so nothing is missing or doubled.
const QUIET = 35_000; // ms without a word (the server speaks every 15 s) after which a socket counts as dead
const sign = document.getElementById("live");
let heard = Date.now();
let tries = 0;
let asOf = null;

const tail = () => document.getElementById("tail");

function show(state) {
  if (!sign) return;
  sign.hidden = false;
  sign.dataset.state = state;
  sign.textContent = state === "live" ? "live" : `reconnecting · as of ${asOf ?? "opening"}`;
}

function address(element) {
  const url = new URL(element.getAttribute("hx-ws:connect"), location.href);
  if (element.dataset.after) url.searchParams.set("after", element.dataset.after);
  return url.pathname + url.search;
}

function connectAgain() {
  const old = tail();
  if (!old) return;
  const fresh = old.cloneNode(false);
  fresh.setAttribute("hx-ws:connect", address(old));
  old.replaceWith(fresh);
  htmx.process(fresh);
  heard = Date.now();
}

document.addEventListener("htmx:after:ws:connection", () => { tries = 0; heard = Date.now(); asOf = new Date().toLocaleTimeString(); show("live"); });
document.addEventListener("htmx:ws:close", (event) => {
  if (event.target !== tail() || event.detail.reason === "removed") return;
  if ([4401, 4403, 4404].includes(event.detail.code)) return show("closed");
  show("reconnecting");
  setTimeout(connectAgain, Math.min(10_000, 300 * 2 ** tries++) * (0.7 + Math.random() * 0.6));
});

// The controls fetch themselves again; not under somebody who is writing a reason, but as soon as that dialog closes.
function runMoved() {
  const dialog = document.querySelector("#run-controls :popover-open");
  if (!dialog) return htmx.trigger(document.body, "run-moved");
  dialog.addEventListener("toggle", ({ newState }) => { if (newState === "closed") runMoved(); }, { once: true });
}

// Nor are they replaced by what was asked for before the dialog was opened.
document.addEventListener("htmx:before:swap", (event) => {
  if (event.target.id !== "run-controls" || !event.target.querySelector(":popover-open")) return;
  event.preventDefault();
  runMoved();
});

// Gates and signals come and go while the status stays: in a fan-out, or while the run is held.
const MOVES_CONTROLS = /data-kind="(gate_opened|gate_reopened|gate_withdrawn|decided|signal|slept|branch|fan_out|note)"/;
let moving = null;
function runMovedSoon() {
  moving ??= setTimeout(() => { moving = null; runMoved(); }, 300);
}

document.addEventListener("htmx:before:ws:message", (event) => {
  heard = Date.now();
  asOf = new Date().toLocaleTimeString();
  const message = event.detail.message.json;
  const element = tail();
  if (!message || !element) return;
  if (message.reset) return location.reload();
  if (message.status && element.dataset.tail === "run") {
    const before = element.dataset.status;
    element.dataset.status = message.status;
    if (before !== undefined && before !== message.status) setTimeout(runMoved);
    else if (MOVES_CONTROLS.test(message.content ?? "")) runMovedSoon();
  }
  if (message.seq !== undefined) element.dataset.after = message.seq;
  document.dispatchEvent(new CustomEvent("holdfast:message", { detail: message }));
});

setInterval(() => { if (tail() && Date.now() - heard > QUIET) { show("reconnecting"); connectAgain(); } }, 5_000);
document.addEventListener("visibilitychange", () => { if (!document.hidden && Date.now() - heard > QUIET) connectAgain(); });
