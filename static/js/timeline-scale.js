// The scale of the time axis: where a moment is, with the time in which nobody worked squeezed, and back.
const LONG = 0.05; // of the whole, and
const SECONDS = 3_000; // ms: a gap that is longer can be hidden
const KEPT = 0.12; // of the time of work: what a hidden gap keeps
const MOSTLY = 0.7; // of the whole: where so much is idle, it is hidden from the start
const IDLE = ["people", "sleep", "held", "queue"];

function intervals(bars, now) {
  return bars.filter((bar) => bar.dataset.bar !== "point").map((bar) => [Number(bar.dataset.from), Number(bar.dataset.to ?? now), bar.dataset.bar]);
}

// Gaps in which nobody worked, of a length that is worth hiding.
function idle(bars, now) {
  const busy = intervals(bars, now).filter(([, , kind]) => !IDLE.includes(kind)).sort((a, b) => a[0] - b[0]);
  const gaps = [];
  let end = 0;
  for (const [from, to] of [...busy, [now, now]]) {
    if (from - end > Math.max(LONG * now, SECONDS)) gaps.push([end, from]);
    end = Math.max(end, to);
  }
  return gaps;
}

// Where a moment is on the axis: each hidden gap keeps a little of it.
export function scale(bars, now, hidden) {
  const gaps = hidden ? idle(bars, now) : [];
  const busy = now - gaps.reduce((sum, [from, to]) => sum + to - from, 0);
  const kept = KEPT * busy || 1;
  const place = (at) => at - gaps.reduce((sum, [from, to]) => {
    const part = Math.min(Math.max(0, at - from), to - from);
    return sum + part - (part / (to - from)) * kept;
  }, 0);
  return { gaps, place };
}

// The moment at a place of the axis.
export function moment(place, wanted, now) {
  let [low, high] = [0, now];
  for (let step = 0; step < 40; step++) {
    const middle = (low + high) / 2;
    if (place(middle) < wanted) low = middle;
    else high = middle;
  }
  return high;
}

export function words(ms) {
  if (ms < 1000) return `${Math.round(ms)} ms`;
  const parts = [[86400e3, "d"], [3600e3, "h"], [60e3, "m"], [1e3, "s"]];
  const index = parts.findIndex(([size]) => ms >= size);
  const [size, unit] = parts[index];
  if (unit === "s") return `${(ms / size).toFixed(ms < 10e3 ? 1 : 0)} s`;
  const rest = Math.floor((ms % size) / parts[index + 1][0]);
  return `${Math.floor(ms / size)} ${unit}${rest ? ` ${rest} ${parts[index + 1][1]}` : ""}`;
}

export function isMostlyIdle(bars, now) {
  return idle(bars, now).reduce((sum, [from, to]) => sum + to - from, 0) > MOSTLY * now;
}
