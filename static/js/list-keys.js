// Keys of every list: j and k go from row to row, / to its search; ? shows the keys of all pages.
import { beside, isOurs } from "./keys.js";

document.addEventListener("keydown", (event) => {
  if (!isOurs(event) || document.querySelector("dialog[open]")) return;
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
    const next = beside(links, links.indexOf(document.activeElement), event.key);
    if (!next) return;
    event.preventDefault();
    next.focus();
    next.scrollIntoView({ block: "nearest" });
  }
});
