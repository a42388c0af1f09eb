// A control with data-sends sends its form when it is changed. A dialog with data-opens is open from the start.
document.addEventListener("change", (event) => { if (event.target.matches("[data-sends]")) event.target.form.requestSubmit(); });
for (const dialog of document.querySelectorAll("[data-opens]")) dialog.showPopover();
