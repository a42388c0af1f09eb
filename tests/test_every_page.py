"""What every page owes to everybody: nothing serious for axe-core, nothing wider than a phone, no complaint, no other host."""

from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.pages import browser, sign_in_as
from tests.test_browser import sign_in
from tests.test_operators_day import failed

assert browser and sign_in and failed  # fixtures

SERIOUS = ("serious", "critical")
LIGHT = {"preload": False, "resultTypes": ["violations"]}  # axe would fetch the imports of style sheets from beside the page
DARK = {
    **LIGHT,
    "runOnly": ["color-contrast", "scrollable-region-focusable", "target-size"],
}  # what else can be otherwise there
PHONE, DESK = {"width": 390, "height": 844}, {"width": 1280, "height": 800}
REFUSED = ("/nowhere/", "/runs/?query=statu:x")  # a 404 and a 422, which the browser tells in its console
OF_RUN = ("", "?show=failed", "graph/", "journal/", "logs/", "lineage/", "checkpoints/1/", "compare/?a=0&b=2",
          "history/?key=notes", "fork/", "changes/")  # fmt: skip
OF_SETTINGS = ("", "profile/", "tokens/", "people/", "people/1/", "retention/", "channels/")
OTHERS = ("/", "/?span=7d", "/runs/", "/runs/?query=statu:x", "/runs/?view=stuck", "/workflows/", "/workflows/refund/",
          "/runs/new/refund/", "/workers/", "/gates/", "/gates/?tab=open", "/gates/?tab=history", "/gates/absences/", "/audit/",
          "/insight/", "/policies/", "/policies/refund/manager/", "/design/", "/nowhere/", "/demo/mail/")  # fmt: skip


def pages_of(run: str) -> list[str]:
    return [*OTHERS, *(f"/runs/{run}/{rest}" for rest in OF_RUN), *(f"/settings/{rest}" for rest in OF_SETTINGS)]


def faults_of(page: Page, where: str, options: Any = LIGHT) -> list[tuple[str, str, str]]:
    if page.evaluate("typeof axe") == "undefined":
        page.evaluate(Axe().axe_script)
    found = page.evaluate("options => axe.run(options)", options)["violations"]
    return [(where, one["id"], one["nodes"][0]["html"][:160]) for one in found if one["impact"] in SERIOUS]


def come_to(page: Page, path: str) -> None:
    """With the parts that it asks for, and its socket: one that is cut off while it opens is complained of by the browser."""
    page.goto(path)
    if page.locator("#tail").count():
        expect(page.locator("#live")).to_have_text("live")
    expect(page.locator(".htmx-request")).to_have_count(0)


@pytest.mark.parametrize("part", [0, 1])
def test_every_page_serves_everybody_and_complains_of_nothing(sign_in, browser, stack, failed, part):
    """The fixture says what was complained of, or asked of another host."""
    carol, faults = sign_in("carol", viewport=DESK), []
    gates = stack.api("carol").get("/api/gates?status=open&limit=1").json()["items"]
    paths = [*pages_of(failed), *(f"/gates/{one['id']}/" for one in gates)]
    for path in [path for place, path in enumerate(paths) if place % 2 == part and path not in REFUSED]:
        carol.emulate_media(color_scheme="light")
        carol.set_viewport_size(DESK)
        come_to(carol, path)
        faults += faults_of(carol, path)
        carol.emulate_media(color_scheme="dark")
        carol.set_viewport_size(PHONE)
        faults += faults_of(carol, f"{path} dark", DARK)
        if carol.evaluate("document.documentElement.scrollWidth > innerWidth"):
            faults.append((path, "wider than the screen", ""))
    for key in ("Control+k", "?"):
        carol.goto("/runs/")
        expect(carol.locator("#live")).to_have_text("live")
        carol.keyboard.press(key)
        expect(carol.locator("#palette[open] #command-1, #help:popover-open").first).to_be_visible()
        faults += faults_of(carol, key)
    assert faults == []


def test_a_refusal_serves_everybody_too(browser, stack):
    context = browser.new_context(base_url=stack.url, viewport=PHONE)
    carol = sign_in_as(context.new_page(), stack, "carol")
    for path in REFUSED:
        carol.goto(path)
        assert faults_of(carol, path) == []
    context.close()
