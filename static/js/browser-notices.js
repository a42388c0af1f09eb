// A notification of the browser for each gate that newly waits, while no page of ours is looked at. The person asks for it.
const KNOWN = "holdfast:known-gates";
const known = () => new Set(JSON.parse(localStorage.getItem(KNOWN) ?? "[]"));

function show(gate) {
  const notice = new Notification("Decision needed", { body: gate.title, tag: gate.id });
  notice.onclick = () => { window.focus(); location.assign(gate.url); notice.close(); };
}

document.addEventListener("holdfast:mine", ({ detail }) => {
  const before = known();
  localStorage.setItem(KNOWN, JSON.stringify(detail.gates.map((gate) => gate.id)));
  if (!detail.notifies || window.Notification?.permission !== "granted" || document.visibilityState === "visible") return;
  for (const gate of detail.gates) if (!before.has(gate.id)) show(gate);
});

document.addEventListener("change", async ({ target }) => {
  if (!target.matches?.("[data-notifies]") || !target.checked) return;
  if (!window.Notification || (await Notification.requestPermission()) !== "granted") {
    target.checked = false;
    target.closest(".field").insertAdjacentHTML("beforeend", '<p class="field-error" role="alert">This browser does not allow it: see its settings for this site.</p>');
  }
});
