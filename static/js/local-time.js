// Times tick: "12 s ago", "in 42 min", "3 h 12 m". The exact one stays on hover.
const zone = document.documentElement.dataset.zone || undefined; // the browser's own, where none is chosen
const UNITS = [["d", 86400], ["h", 3600], ["m", 60], ["s", 1]];

function length(seconds) {
  const rest = Math.max(0, Math.round(seconds));
  const index = UNITS.findIndex(([, size]) => rest >= size);
  if (index < 0) return "0 s";
  const [unit, size] = UNITS[index];
  const small = UNITS[index + 1];
  const more = small && Math.floor((rest % size) / small[1]);
  return `${Math.floor(rest / size)} ${unit}` + (more && index < 3 && !(unit === "m" && rest >= 600) ? ` ${more} ${small[0]}` : "");
}

export const clock = (at) => at.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false, timeZone: zone });

function words(element, now) {
  const at = new Date(element.dateTime);
  const passed = (now - at) / 1000;
  switch (element.dataset.style) {
    case "clock": return clock(at);
    case "age": return length(passed);
    case "when": return at.toLocaleString([], { ...(at.toDateString() === new Date(now).toDateString() ? {} : { day: "numeric", month: "short" }), hour: "2-digit", minute: "2-digit", hour12: false, timeZone: zone });
    case "old": return length(passed).split(" ", 2).join(" ");
    case "until": return passed < 0 ? `in ${length(-passed)}` : "overdue";
    default: return passed < 2 ? "just now" : `${length(passed)} ago`;
  }
}

const at = (element) => new Date(element.dateTime).toLocaleString([], { timeZone: zone, timeZoneName: "short", hour12: false });

export function tick(root = document) {
  const now = Date.now();
  for (const element of root.querySelectorAll("time[datetime]")) {
    const text = words(element, now);
    if (element.textContent !== text) element.textContent = text;
    if (!element.dataset.local) {
      element.dataset.local = "yes";
      element.title = `${at(element)} · ${element.dateTime}`;
    }
  }
}

tick();
setInterval(tick, 1000);
document.addEventListener("htmx:after:swap", () => tick());
