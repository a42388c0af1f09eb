// How far the step is. Not recorded anywhere: it is gone when the step ends.
document.addEventListener("holdfast:message", ({ detail }) => {
  const bar = document.getElementById("progress");
  if (!bar) return;
  if (detail.progress) {
    bar.removeAttribute("data-idle");
    bar.querySelector("progress").value = detail.progress.fraction;
    bar.querySelector("[data-message]").textContent = `${detail.progress.step} · ${Math.round(detail.progress.fraction * 100)} % · ${detail.progress.message}`;
  } else if (detail.content) {
    bar.setAttribute("data-idle", "");
  }
});
