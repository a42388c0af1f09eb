// The time axis: what is looked at (zoom), time in which nothing happened (hidden), and now, which goes on.
import { costs, mark } from "./timeline-axis.js";
import { isMostlyIdle, moment, scale, words } from "./timeline-scale.js";

const SHORTEST = 5; // ms: no closer look
let zoomed = null; // [from, to] on the axis, or null: all
let hidden = false;

const timeline = () => document.getElementById("timeline");
const bars = () => [...timeline().querySelectorAll(".span-bar")];
const opened = performance.now();

function nowOf(line) {
  const passed = line.hasAttribute("data-over") ? 0 : performance.now() - Number(line.dataset.seenAt ?? opened);
  return Number(line.dataset.now) + passed;
}

export function draw() {
  const line = timeline();
  if (!line?.querySelector(".axis-track")) return;
  const now = nowOf(line);
  const { gaps, place } = scale(bars(), now, hidden);
  const [from, to] = zoomed ?? [Number(line.dataset.first ?? 0), place(now)];
  line.style.setProperty("--now", place(now));
  line.style.setProperty("--first", from);
  line.style.setProperty("--range", Math.max(SHORTEST, to - from));
  for (const bar of bars()) {
    bar.style.setProperty("--from", place(Number(bar.dataset.from)));
    if (bar.dataset.to !== undefined) bar.style.setProperty("--to", place(Number(bar.dataset.to)));
  }
  const ticks = [...line.querySelectorAll(".ticks li")];
  ticks.forEach((tick, index) => { tick.textContent = words(moment(place, from + ((to - from) * index) / (ticks.length - 1), now)); });
  mark(line, gaps.map(([first, last]) => [place(first), place(last), `⋯ ${words(last - first)}`]), from, to);
  costs(line, place, now);
  line.querySelector(".cost-strip").setAttribute("viewBox", `${from} 0 ${Math.max(SHORTEST, to - from)} 24`);
  document.getElementById("zoom-out").disabled = !zoomed;
}

// A drag over the axis looks closer at that part.
document.addEventListener("pointerdown", (event) => {
  const track = event.target.closest(".axis-track");
  if (!track || event.button) return;
  const { left, width } = track.getBoundingClientRect();
  const brush = track.querySelector(".brush");
  const share = ({ clientX }) => Math.min(1, Math.max(0, (clientX - left) / width));
  const start = share(event);
  const move = (moved) => {
    brush.hidden = false;
    brush.style.setProperty("--brush-from", `${Math.min(start, share(moved)) * 100}%`);
    brush.style.setProperty("--brush-size", `${Math.abs(share(moved) - start) * 100}%`);
  };
  const done = (ended) => {
    removeEventListener("pointermove", move);
    brush.hidden = true;
    const [low, high] = [Math.min(start, share(ended)), Math.max(start, share(ended))];
    const line = timeline();
    const [first, range] = ["--first", "--range"].map((name) => Number(line.style.getPropertyValue(name)));
    if (high - low > 0.01 && range * (high - low) > SHORTEST) zoomed = [first + low * range, first + high * range];
    draw();
  };
  addEventListener("pointermove", move);
  addEventListener("pointerup", done, { once: true });
});
document.addEventListener("dblclick", (event) => { if (event.target.closest(".axis-track")) { zoomed = null; draw(); } });
document.addEventListener("change", (event) => { if (event.target.id === "hide-idle") { hidden = event.target.checked; zoomed = null; draw(); } });
document.addEventListener("click", (event) => { if (event.target.id === "zoom-out") { zoomed = null; draw(); } });
document.addEventListener("htmx:after:swap", ({ detail }) => {
  if (detail.ctx?.target?.id === "timeline") timeline().dataset.seenAt = performance.now();
});

// What a row shows while the page is changed stays open and where it was.
setInterval(() => { const line = timeline(); if (line && !line.hasAttribute("data-over") && !document.hidden) draw(); }, 1000);
document.addEventListener("holdfast:message", () => setTimeout(() => {
  const line = timeline();
  const header = document.getElementById("run-header");
  if (!line || !header) return;
  if (!line.hasAttribute("data-over") && /succeeded|failed|rejected|cancelled|rolled_back/.test(header.dataset.status)) {
    line.dataset.now = nowOf(line);
    line.setAttribute("data-over", "");
  }
  draw();
}));
if (timeline()?.querySelector(".axis-track")) {
  hidden = isMostlyIdle(bars(), nowOf(timeline()));
  document.getElementById("hide-idle").checked = hidden;
  draw();
}
