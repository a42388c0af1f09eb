// A form that was refused comes back with the first wrong field in focus, wherever it is on the page.
document.querySelector("main [aria-invalid=true], main [data-state=bad] input")?.focus();
document.querySelector("main [role=alert][tabindex], main [role=status][autofocus]")?.focus();
