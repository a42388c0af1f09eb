// What all keys share: whether one is meant for the page, and which row j and k lead to.
const TYPING = "input:not([type=checkbox], [type=radio]), textarea, select, [contenteditable]";

export const isTyping = ({ target }) => target.matches(TYPING);
export const isOurs = (event) => !(event.ctrlKey || event.metaKey || event.altKey || isTyping(event));

export function beside(rows, here, key) {
  if (key === "j") return rows[Math.min(rows.length - 1, here + 1)];
  return rows[Math.max(0, here < 0 ? rows.length - 1 : here - 1)];
}
