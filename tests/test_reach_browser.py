"""The whole way on a running Holdfast: a message by SMTP, its link approves in two taps on a phone; and the audit has it."""

import re
import time

import httpx
import pytest
from playwright.sync_api import Page, expect

from demo import mailbox
from tests.pages import browser, sign_in_as
from tests.stack import Stack

assert browser


def message_to(stack: Stack, person: str, title: str) -> str:
    """The HTML of the newest message to the person that speaks of this."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        folder = stack.folder / "mail"
        for _, one in mailbox.messages(folder) if folder.exists() else []:
            if person in str(one["to"]) and title in str(one["subject"]):
                part = one.get_body(("html",))
                assert part is not None
                return str(part.get_content())
        time.sleep(0.1)
    raise AssertionError(f"no message to {person} about {title}")


@pytest.fixture
def phone(browser, stack):
    context = browser.new_context(
        base_url=stack.url, viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True, color_scheme="light"
    )
    page = context.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text) if message.type in ("error", "warning") else None)
    yield sign_in_as(page, stack, "bob")
    assert said == []
    context.close()


def test_two_taps_in_a_message_on_a_phone(stack: Stack, phone: Page):
    alice, bob = stack.api("alice"), stack.api("bob")
    run = alice.post("/api/runs", json={"workflow": "refund", "input": {"order": "TAP-1", "amount": 421}}).json()["id"]
    html = message_to(stack, "bob@", "TAP-1")
    found = re.search(r'href="http://[^/]+(/links/[^"?]+/)\?verdict=approve"', html)
    assert found
    for _ in range(20):  # a scanner, before anybody reads it
        for method in ("GET", "HEAD"):
            httpx.request(method, f"{stack.url}{found[1]}?verdict=approve", follow_redirects=True)
    assert stack.finish(run, bob, 1)["status"] == "waiting"
    phone.goto(f"{found[1]}?verdict=approve")  # the first tap
    expect(phone.get_by_role("heading", name="Approve this?")).to_be_visible()
    expect(phone.locator("main")).to_contain_text("pay” runs next")
    assert phone.evaluate("document.documentElement.scrollWidth") <= 390
    phone.get_by_role("button", name="Approve").tap()  # the second
    expect(phone.get_by_role("status").filter(has_text="You approved")).to_be_visible()
    assert stack.finish(run, alice)["status"] == "succeeded"
    phone.goto(found[1])
    expect(phone.locator("main")).to_contain_text("Bob approved", ignore_case=True)
    acts = stack.api("carol").get("/api/audit", params={"run": run, "act": "decided"}).json()["items"]
    assert [(one["actor"], one["channel"], one["address"]) for one in acts] == [("bob", "link", "127.0.0.1")]


def test_the_title_of_every_page_counts_what_waits(stack: Stack, phone: Page):
    stack.api("alice").post("/api/runs", json={"workflow": "refund", "input": {"order": "TAP-2", "amount": 422}})
    message_to(stack, "bob@", "TAP-2")
    phone.goto("/settings/")
    count = phone.locator("[data-inbox-count]").get_attribute("data-inbox-count")
    assert count is not None and int(count) >= 1
    expect(phone).to_have_title(re.compile(rf"^\({count}\) "))
    answer = phone.evaluate("fetch('/gates/mine/', {headers: {'HX-Request': 'true'}}).then((answer) => answer.json())")
    assert answer["count"] == count and answer["gates"][0]["title"].startswith("Refund") and answer["notifies"] is False


def test_a_webhook_into_the_hosts_own_network_is_refused(stack: Stack, browser):
    context = browser.new_context(base_url=stack.url)
    page = sign_in_as(context.new_page(), stack, "carol")
    page.goto("/settings/channels/")
    page.locator("details.sheet").evaluate("(one) => { one.open = true }")
    page.get_by_label("Name · required").fill("inside")
    page.get_by_label("Address").fill("http://127.0.0.1:8000/hooks")
    page.get_by_role("button", name="Add it").click()
    expect(page.get_by_role("alert").filter(has_text="private address")).to_be_visible()
    context.close()
