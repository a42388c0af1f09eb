// What is being typed at a gate stays in this tab while other gates are looked at, until it is sent.
const NAME = (gate) => `holdfast:draft:${gate}`;
const open = () => document.querySelector("#gate-pane .gate")?.dataset.gate;
const read = (gate) => JSON.parse(sessionStorage.getItem(NAME(gate)) ?? "{}");

function write(gate, draft) {
  if (Object.keys(draft).length) sessionStorage.setItem(NAME(gate), JSON.stringify(draft));
  else sessionStorage.removeItem(NAME(gate));
}

document.addEventListener("input", ({ target }) => {
  const gate = target.closest(".gate")?.dataset.gate;
  if (!gate || !target.id || target.type === "password" || target.type === "checkbox") return;
  write(gate, { ...read(gate), [target.id]: target.value });
});

function restore() {
  const gate = open();
  if (!gate) return;
  for (const [id, value] of Object.entries(read(gate))) {
    const field = document.getElementById(id);
    if (!field?.closest(".gate") || field.value === value) continue;
    field.value = value;
    if (field.closest("#edit-form")) {
      field.closest("details").open = true;
      field.dispatchEvent(new Event("input", { bubbles: true }));
    }
  }
}

document.addEventListener("htmx:after:swap", ({ detail }) => {
  const { sourceElement, request, response, target } = detail.ctx ?? {};
  if (target?.id !== "gate-pane") return;
  const gate = request.action.match(/\/gates\/([0-9a-f-]{36})\//)?.[1];
  if (gate && request.method === "POST" && response.status < 400) {
    const decided = /\/(decisions|bypass)\//.test(request.action) && !request.action.includes("/undo/");
    const sent = [...(sourceElement.elements ?? [])].map((field) => field.id);
    write(gate, decided ? {} : Object.fromEntries(Object.entries(read(gate)).filter(([id]) => !sent.includes(id))));
  }
  restore();
});
restore();
