// A decision that can be taken back says for how long, by the server's count; then the button goes, and the server would say no.
const until = new WeakMap();

setInterval(() => {
  for (const form of document.querySelectorAll("form[data-left]")) {
    if (!until.has(form)) until.set(form, performance.now() + Number(form.dataset.left) * 1000);
    const left = Math.ceil((until.get(form) - performance.now()) / 1000);
    form.hidden = left <= 0;
    const count = form.querySelector("[data-count]");
    if (count) count.textContent = `${Math.max(0, left)} s`;
  }
}, 200);
