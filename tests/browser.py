"""Finding a Chromium for the browser tests; ``python -m tests.browser`` installs one where it may."""

import os
import shutil
import subprocess
import sys
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


def on_path() -> str | None:
    return next((found for name in NAMES if (found := shutil.which(name))), None)


def playwrights_own() -> bool:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        return os.path.exists(playwright.chromium.executable_path)  # noqa: PTH110 - a str from outside


def provide() -> str:
    """How Chromium was found. Exits with the reason when none can be had."""
    if on_path():
        return "on PATH"
    apt = shutil.which("apt-get")
    if apt and os.geteuid() == 0:
        quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        subprocess.run([apt, "update", "-qq"], check=False, **quiet)
        subprocess.run([apt, "install", "-y", "-qq", "chromium"], check=False, **quiet)
        if on_path():
            return "installed by apt-get"
    if playwrights_own():
        return "Playwright's own"
    subprocess.run([sys.executable, "-m", "playwright", "install", "chromium"], check=False)
    if playwrights_own():
        return "Playwright's own, downloaded"
    sys.exit("No Chromium on PATH, none from apt-get, and Playwright could not download one: the browser tests cannot run.")


if __name__ == "__main__":
    provide()
