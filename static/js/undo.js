// A decision that can be taken back says for how long; then the button goes, and the server would say no.
setInterval(() => {
  for (const form of document.querySelectorAll("form[data-until]")) {
    const left = Math.ceil((new Date(form.dataset.until) - Date.now()) / 1000);
    form.hidden = left <= 0;
    const time = form.querySelector("time");
    if (time) time.textContent = `${Math.max(0, left)} s`;
  }
}, 200);
