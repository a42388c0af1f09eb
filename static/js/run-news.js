// Runs started since the page was opened are announced, not inserted under the pointer. The server says which are wanted here.
const opened = new Date().toISOString();
const seen = new Set();
let due = null;

function ask() {
  due = null;
  const news = document.getElementById("news");
  const address = new URL(news.dataset.news, location.href);
  address.searchParams.set("since", opened);
  htmx.ajax("GET", address.pathname + address.search, { source: news, target: news, swap: "innerHTML" });
}

document.addEventListener("holdfast:message", ({ detail }) => {
  if (!document.getElementById("news")?.dataset.news || !detail.run || seen.has(detail.run)) return;
  if (document.getElementById(`run-${detail.run}`) || detail.created_at < opened.replace("Z", "")) return;
  seen.add(detail.run);
  due ??= setTimeout(ask, 300);
});
