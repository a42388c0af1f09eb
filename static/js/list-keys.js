// Keys of every list: j and k go from row to row, / to its search; ? shows the keys of all pages.
const TYPING = "input:not([type=checkbox], [type=radio]), textarea, select, [contenteditable]";

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches(TYPING)) return;
  if (document.querySelector("dialog[open]")) return;
  if (event.key === "?") {
    event.preventDefault();
    document.getElementById("help")?.togglePopover();
  } else if (event.key === "/" && !document.querySelector(".inbox")) {
    const search = document.querySelector('main [data-key="/"], main input[type="search"]');
    if (!search) return;
    event.preventDefault();
    search.focus();
    search.select();
  } else if ((event.key === "j" || event.key === "k") && !document.querySelector(".inbox, #timeline")) {
    const links = [...document.querySelectorAll("main .row-link")];
    const at = links.indexOf(document.activeElement);
    const next = links[event.key === "j" ? Math.min(links.length - 1, at + 1) : Math.max(0, at < 0 ? links.length - 1 : at - 1)];
    if (!next) return;
    event.preventDefault();
    next.focus();
    next.scrollIntoView({ block: "nearest" });
  }
});
