// What becomes of the pane when another gate, or an answer, is put into it: it is seen from its top, and said aloud.
const SETTLES = 900; // ms in which a second tap, meant for the gate before, decides nothing
const pane = () => document.getElementById("gate-pane");
const own = document.title.replace(/^\(\d+\+?\) /, "");

function arrived(sent) {
  const here = pane();
  const told = here.querySelector('[role="alert"], #done');
  if (sent && here.querySelector("#done")) {
    for (const bar of here.querySelectorAll(".gate-decide")) {
      bar.inert = true;
      setTimeout(() => { bar.inert = false; }, SETTLES);
    }
  }
  const { top } = (told ?? here).getBoundingClientRect();
  if (top < 0 || top > innerHeight - 80) here.scrollIntoView({ block: "start" });
  (told ?? here).focus({ preventScroll: true });
  const title = here.querySelector(".gate[data-chosen]")?.dataset.title;
  document.dispatchEvent(new CustomEvent("holdfast:title", { detail: title ? `${title} · Holdfast` : own }));
}

document.addEventListener("htmx:after:swap", ({ detail }) => {
  if (detail.ctx?.target?.id === "gate-pane") arrived(detail.ctx.request.method !== "GET");
});
document.addEventListener("holdfast:pane", () => arrived(true));

// What would be sent is what the difference shows: while it is being made anew, the button that sends it waits.
document.addEventListener("input", (event) => {
  if (!event.target.closest("#edit-form") || !event.target.name?.startsWith("field-")) return;
  for (const button of document.querySelectorAll("#edited button")) button.disabled = true;
});

// One box for words: what stands in the bar goes with an edit, too.
document.addEventListener("htmx:config:request", ({ detail }) => {
  const { request, sourceElement } = detail.ctx;
  const words = document.getElementById("comment")?.value;
  if (sourceElement.id === "edit-form" && words && !request.body.get("comment")) request.body.set("comment", words);
});
