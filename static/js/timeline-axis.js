// What stands on the time axis: what the run had cost by then, and the gaps that are hidden.
export function costs(line, place, end) {
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
export function mark(line, gaps, from, to) {
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

