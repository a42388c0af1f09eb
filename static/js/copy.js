// A button with data-copy puts that text on the clipboard, and says so. Without scripts it is not there.
function offer(root = document) {
  for (const button of root.querySelectorAll("[data-copy][hidden]")) button.hidden = false;
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  event.preventDefault(); // within a summary it would open it, too
  const label = button.textContent;
  try {
    await navigator.clipboard.writeText(button.dataset.copy);
    button.textContent = "copied";
  } catch { // no clipboard without HTTPS: then it can at least be read
    button.textContent = button.dataset.copy;
  }
  button.dataset.copied = "yes";
  setTimeout(() => { button.textContent = label; delete button.dataset.copied; }, 2500);
});
offer();
document.addEventListener("htmx:after:swap", () => offer());
