// A new run is announced, not inserted under the pointer.
const fresh = new Set();

document.addEventListener("holdfast:message", ({ detail }) => {
  const news = document.getElementById("news");
  if (!news || !detail.run || document.getElementById(`run-${detail.run}`)) return;
  fresh.add(detail.run);
  news.hidden = false;
  news.querySelector("[data-count]").textContent = fresh.size;
});
