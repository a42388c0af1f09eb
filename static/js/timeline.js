// The time axis: what is looked at (zoom), time in which nothing happened (hidden), and now, which goes on.
const SHORTEST = 5; // ms: no closer look
const LONG = 0.05; // of the whole, and
const SECONDS = 3_000; // ms: a gap that is longer can be hidden
const KEPT = 0.12; // of the time of work: what a hidden gap keeps
const MOSTLY = 0.7; // of the whole: where so much is idle, it is hidden from the start
const IDLE = ["people", "sleep", "held", "queue"];
let zoomed = null; // [from, to] in ms on the axis, or null: all
let hidden = false;

const timeline = () => document.getElementById("timeline");
const bars = () => [...timeline().querySelectorAll(".span-bar")];
const opened = performance.now();

function nowOf(line) {
  const passed = line.hasAttribute("data-over") ? 0 : performance.now() - Number(line.dataset.seenAt ?? opened);
  return Number(line.dataset.now) + passed;
}

function intervals(now) {
  return bars().filter((bar) => bar.dataset.bar !== "point").map((bar) => [Number(bar.dataset.from), Number(bar.dataset.to ?? now), bar.dataset.bar]);
}

// Gaps in which nobody worked, of a length that is worth hiding.
function idle(now) {
  const busy = intervals(now).filter(([, , kind]) => !IDLE.includes(kind)).sort((a, b) => a[0] - b[0]);
  const gaps = [];
  let end = 0;
  for (const [from, to] of [...busy, [now, now]]) {
    if (from - end > Math.max(LONG * now, SECONDS)) gaps.push([end, from]);
    end = Math.max(end, to);
  }
  return gaps;
}

// Where a moment is on the axis: each hidden gap keeps a little of it.
function scale(now) {
  const gaps = hidden ? idle(now) : [];
  const busy = now - gaps.reduce((sum, [from, to]) => sum + to - from, 0);
  const kept = KEPT * busy || 1;
  const place = (at) => at - gaps.reduce((sum, [from, to]) => {
    const part = Math.min(Math.max(0, at - from), to - from);
    return sum + part - (part / (to - from)) * kept;
  }, 0);
  return { gaps, place };
}

// The moment at a place of the axis.
function moment(place, wanted, now) {
  let [low, high] = [0, now];
  for (let step = 0; step < 40; step++) {
    const middle = (low + high) / 2;
    if (place(middle) < wanted) low = middle;
    else high = middle;
  }
  return high;
}

function words(ms) {
  if (ms < 1000) return `${Math.round(ms)} ms`;
  const parts = [[86400e3, "d"], [3600e3, "h"], [60e3, "m"], [1e3, "s"]];
  const index = parts.findIndex(([size]) => ms >= size);
  const [size, unit] = parts[index];
  if (unit === "s") return `${(ms / size).toFixed(ms < 10e3 ? 1 : 0)} s`;
  const rest = Math.floor((ms % size) / parts[index + 1][0]);
  return `${Math.floor(ms / size)} ${unit}${rest ? ` ${rest} ${parts[index + 1][1]}` : ""}`;
}

function costs(line, place, end) {
  const strip = line.querySelector(".cost-strip");
  const rows = [...line.querySelectorAll(".span")].filter((row) => Number(row.dataset.cost) > 0);
  const total = rows.reduce((sum, row) => sum + Number(row.dataset.cost), 0);
  strip.toggleAttribute("hidden", !total);
  if (!total) return;
  let spent = 0;
  const points = ["0,24"];
  for (const row of rows) {
    const last = [...row.querySelectorAll(".span-bar")].at(-1);
    const x = place(Number(last?.dataset.to ?? end));
    points.push(`${x},${24 - (spent / total) * 22}`);
    spent += Number(row.dataset.cost);
    points.push(`${x},${24 - (spent / total) * 22}`);
  }
  points.push(`${place(end)},${24 - (spent / total) * 22}`);
  strip.querySelector("polyline").setAttribute("points", points.join(" "));
}

// What is hidden is said on the axis.
function mark(line, gaps, from, to) {
  const marks = gaps.map(([first, last, text]) => {
    const gap = document.createElement("i");
    gap.className = "gap";
    gap.textContent = gap.title = text;
    gap.style.setProperty("--gap-from", `${((first - from) / (to - from)) * 100}%`);
    gap.style.setProperty("--gap-size", `${((last - first) / (to - from)) * 100}%`);
    return gap;
  });
  line.querySelector(".gaps").replaceChildren(...marks);
}

export function draw() {
  const line = timeline();
  if (!line?.querySelector(".axis-track")) return;
  const now = nowOf(line);
  const { gaps, place } = scale(now);
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
  mark(line, gaps.map(([first, last]) => [place(first), place(last), `${words(last - first)} idle`]), from, to);
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
  const now = nowOf(timeline());
  hidden = idle(now).reduce((sum, [from, to]) => sum + to - from, 0) > MOSTLY * now;
  document.getElementById("hide-idle").checked = hidden;
  draw();
}
