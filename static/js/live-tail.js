// The socket of a page. After a cut it comes back with the last seq it has seen, so nothing is missing or doubled.
import { clock } from "./local-time.js";

const QUIET = 13_000; // ms without a word (the server speaks every 5 s) after which a socket counts as dead
const PATIENT = 4; // tries to connect; then the page asks for itself (live-fallback.js)
const sign = document.getElementById("live");
let heard = Date.now();
let tries = 0;
let asOf = clock(new Date());

const tail = () => document.getElementById("tail");

const WORDS = {
  live: () => "live",
  slow: () => "every 2 s: Redis is away",
  paused: () => `live updates paused, refreshing every 5 s · as of ${asOf}`,
  reconnecting: () => `reconnecting · up to date as of ${asOf}`,
  4401: () => "signed out: sign in again",
  4403: () => "not permitted any more",
  4404: () => "gone",
};

function show(state) {
  if (!sign) return;
  sign.hidden = false;
  sign.dataset.state = state;
  const words = WORDS[state]();
  if (sign.textContent !== words) sign.textContent = words;
}

// A socket counts from its first word on: the server speaks as soon as it is open.
function alive(state) {
  tries = 0;
  show(state);
  document.dispatchEvent(new CustomEvent("holdfast:resumed"));
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

document.addEventListener("holdfast:refreshed", () => { asOf = clock(new Date()); show("paused"); });
document.addEventListener("holdfast:cut", () => show("reconnecting"));
document.addEventListener("htmx:ws:close", (event) => {
  if (event.target !== tail() || event.detail.reason === "removed") return;
  if (WORDS[event.detail.code]) return show(event.detail.code);
  if (sign?.dataset.state !== "paused") show("reconnecting");
  if (tries === PATIENT) document.dispatchEvent(new CustomEvent("holdfast:paused"));
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
  asOf = clock(new Date());
  const message = event.detail.message.json;
  const element = tail();
  if (!message || !element) return;
  if (message.reset) return location.reload();
  if (message.alive) alive(message.slow ? "slow" : "live");
  if (message.status && element.dataset.tail === "run") {
    const before = element.dataset.status;
    element.dataset.status = message.status;
    if (before !== undefined && before !== message.status) setTimeout(runMoved);
    else if (MOVES_CONTROLS.test(message.content ?? "")) runMovedSoon();
  }
  if (message.seq !== undefined) element.dataset.after = message.seq;
  document.dispatchEvent(new CustomEvent("holdfast:message", { detail: message }));
});

setInterval(() => { if (tail() && Date.now() - heard > QUIET) { if (sign?.dataset.state !== "paused") show("reconnecting"); connectAgain(); } }, 3_000);
document.addEventListener("visibilitychange", () => { if (!document.hidden && Date.now() - heard > QUIET) connectAgain(); });
