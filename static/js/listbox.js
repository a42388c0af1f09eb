// The choices under a line of text: one of them is chosen, the line says which, and the arrows move on.
export function listbox(line, list) {
  const all = () => [...(list?.querySelectorAll("[role=option]:not([aria-disabled])") ?? [])];
  const chosen = () => list.querySelector("[aria-selected=true]");

  function choose(choice) {
    chosen()?.setAttribute("aria-selected", "false");
    choice?.setAttribute("aria-selected", "true");
    choice?.scrollIntoView({ block: "nearest" });
    if (choice) line.setAttribute("aria-activedescendant", choice.id);
    else line.removeAttribute("aria-activedescendant");
  }

  function move(step) {
    const choices = all();
    const here = choices.indexOf(chosen());
    choose(choices[(here + step + (here < 0 && step < 0 ? 1 : 0) + choices.length) % choices.length]);
  }

  return { all, chosen, choose, move };
}
