// A run started since the page was opened is announced, not inserted under the pointer; not where the list is narrowed.
const fresh = new Set();
const opened = Date.now();

document.addEventListener("holdfast:message", ({ detail }) => {
  const news = document.getElementById("news");
  if (!news || !detail.run || location.search || document.getElementById(`run-${detail.run}`)) return;
  if (new Date(detail.created_at) < opened) return;
  fresh.add(detail.run);
  news.hidden = false;
  news.querySelector("[data-count]").textContent = fresh.size;
});
