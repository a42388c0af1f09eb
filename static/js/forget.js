// What was revealed in a dialog is gone from the page when the dialog closes.
document.addEventListener("toggle", ({ target, newState }) => {
  if (newState === "closed") for (const secret of target.querySelectorAll?.(".secret") ?? []) secret.replaceChildren();
}, true);
