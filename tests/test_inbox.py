"""The inbox in a real browser: by keyboard, by touch, without a network, with a session that has ended."""

import re
import time

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.pages import browser, sign_in_as, sign_in_by_form

PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True}

assert browser  # a fixture


@pytest.fixture
def sign_in(browser: Browser, stack):
    """A page of somebody's own; at the end no script may have failed."""
    contexts, errors = [], []

    def enter(name: str, **options) -> Page:
        context = browser.new_context(base_url=stack.url, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        return sign_in_as(page, stack, name)

    yield enter
    for context in contexts:
        context.close()
    assert errors == []


@pytest.fixture
def refunds(stack):
    """Waiting refunds of these amounts; what each is called."""

    def make(*amounts: int) -> list[str]:
        mark = f"K{time.time_ns()}"
        for amount in amounts:
            given = {"order": f"{mark}-{amount}", "amount": amount}
            run = stack.api("alice").post("/api/runs", json={"workflow": "refund", "input": given}).json()["id"]
            stack.finish(run, stack.api("alice"))
        return [f"Refund {amount} € for {mark}-{amount}" for amount in amounts]

    return make


def verdicts(stack, titles: list[str]) -> list[str | None]:
    gates = {gate["title"]: gate for gate in stack.api("bob").get("/api/gates?limit=200").json()["items"]}
    return [(gates[title]["outcome"] or {}).get("verdict") for title in titles]


def search(page: Page, title: str) -> None:
    """Leave only these in the list."""
    page.goto(f"/gates/?q={title.partition(' for ')[2].partition('-')[0]}")


def test_the_whole_inbox_is_worked_by_keyboard(sign_in, refunds, stack):
    titles = refunds(310, 320, 330, 340, 350)
    bob, keys = sign_in("bob"), None
    hint = bob.get_by_text("Choose a gate")
    search(bob, "Refund 1 € for nobody-1")
    expect(bob.locator("#gates h2")).to_be_visible()
    expect(hint).to_be_hidden()  # where there is none
    search(bob, titles[0])
    keys = bob.keyboard
    expect(bob.locator(".gate-row")).to_have_count(5)
    keys.press("j")
    expect(bob.locator(".gate h3")).to_have_text(titles[1])
    keys.press("k")
    expect(bob.locator(".gate h3")).to_have_text(titles[0])
    expect(bob).to_have_title(re.compile(re.escape(titles[0])))
    keys.press("a")
    assert verdicts(stack, titles[:1]) == [None]  # a key alone decides nothing
    keys.press("Enter")
    expect(bob.locator("#done")).to_contain_text(f"bob approved: {titles[0]}")
    expect(bob.locator(".gate h3")).to_have_text(titles[1])  # the next one is open
    expect(bob.locator(".gate-decide:not([inert])")).to_have_count(1)
    keys.press("u")
    keys.press("Enter")
    expect(bob.locator(".story")).to_contain_text("took it back")
    expect(bob.locator(".gate h3")).to_have_text(titles[0])
    keys.press("e")
    keys.press("Control+a")
    keys.type("250")
    expect(bob.locator("#edited")).to_contain_text("310")
    expect(bob.locator("#edited ins")).to_have_text("250")
    bob.locator("#edited button").press("Enter")
    expect(bob.locator("#done")).to_contain_text("approved with changes")
    expect(bob.locator(".gate-decide:not([inert])")).to_have_count(1)
    keys.press("r")
    keys.type("not this one")
    keys.press("Control+Enter")
    expect(bob.locator("#done")).to_contain_text("bob rejected")
    expect(bob.locator(".gate-decide:not([inert])")).to_have_count(1)
    keys.press("s")
    keys.press("Tab")
    keys.type("lunch")
    keys.press("Enter")
    expect(bob.locator(".gate h3")).to_have_text(titles[3])
    expect(bob.locator(".tabs")).to_contain_text("Snoozed")
    for _ in range(2):
        keys.press("x")
        keys.press("j")
        expect(bob.locator(".gate h3")).to_have_text(titles[4])
    bob.get_by_role("button", name="Decide the ticked ones together").click()
    expect(bob.locator(".batch tbody tr")).to_have_count(2)
    bob.get_by_role("button", name="Approve all 2").click()
    expect(bob.get_by_text("What became of each")).to_be_visible()
    bob.get_by_role("button", name="Undo all").click()
    expect(bob.locator(".batch")).to_contain_text("taken back")
    assert verdicts(stack, titles) == ["edit", "reject", None, None, None]


def test_an_approver_on_a_phone_decides_sees_the_next_and_takes_back(sign_in, refunds, stack):
    titles = refunds(410, 420)
    bob = sign_in("bob", **PHONE)
    search(bob, titles[0])
    expect(bob.locator(".inbox-pane")).to_be_hidden()
    bob.locator(".gate-row-link").first.tap()
    expect(bob.locator(".gate h3")).to_have_text(titles[0])
    expect(bob.locator(".inbox-side")).to_be_hidden()
    approve = bob.get_by_role("button", name="Approve amount 410")
    box = approve.bounding_box()
    assert box["y"] + box["height"] <= 844 and box["height"] >= 40  # under the thumb
    bob.mouse.wheel(0, 600)
    approve.tap()
    done = bob.locator("#done")
    expect(done).to_be_in_viewport()
    expect(bob.locator(".gate h3")).to_have_text(titles[1])
    bob.touchscreen.tap(box["x"] + 20, box["y"] + 20)  # the second half of a double tap
    bob.wait_for_timeout(300)
    assert verdicts(stack, titles) == ["approve", None]
    done.get_by_role("button", name="Undo").first.tap()
    expect(bob.locator(".story")).to_contain_text("took it back")
    assert verdicts(stack, titles) == [None, None]
    bob.go_back()
    expect(bob.locator(".frame")).to_be_visible()  # a whole page, not a part of one
    bob.wait_for_function("document.documentElement.scrollWidth <= 390")  # asked again when history loads it anew


def test_a_decision_that_met_no_network_is_kept_and_sent_when_there_is_one(sign_in, refunds, stack):
    (title,) = refunds(510)
    bob = sign_in("bob")
    search(bob, title)
    expect(bob.locator("#live")).to_have_text("live")
    bob.locator("#comment").fill("fine by me")
    bob.context.set_offline(True)
    bob.get_by_role("button", name="Approve amount 510").click()
    kept = bob.locator("[data-kept]")
    expect(kept).to_contain_text("Not sent")
    expect(kept).to_contain_text("fine by me")
    bob.context.set_offline(False)
    bob.reload()
    bob.locator("[data-kept]").get_by_role("button", name="Send it now").click()
    expect(bob.locator("#done")).to_contain_text("bob approved")
    expect(bob.locator("[data-kept]")).to_have_count(0)
    assert verdicts(stack, [title]) == ["approve"]


def test_what_was_typed_outlives_the_session_and_nobody_else_sends_it(sign_in, refunds, stack):
    (title,) = refunds(610)
    bob = sign_in("bob")
    search(bob, title)
    bob.locator("#comment").fill("much too dear")
    bob.context.clear_cookies()
    bob.get_by_role("button", name="Reject").click()
    expect(bob.locator("#notices")).to_contain_text("Your session has ended")
    other = bob.context.new_page()
    sign_in_by_form(other, stack, "erin")
    bob.get_by_role("button", name="Reject").click()
    expect(bob.locator("#notices")).to_contain_text("erin is signed in")
    assert verdicts(stack, [title]) == [None]
    other.locator(".menu summary").click()
    other.get_by_role("button", name="Sign out").click()
    sign_in_by_form(other, stack, "bob")
    expect(bob.locator("#comment")).to_have_value("much too dear")
    bob.get_by_role("button", name="Reject").click()
    expect(bob.locator("#done")).to_contain_text("bob rejected")
    assert verdicts(stack, [title]) == ["reject"]


def test_an_impatient_double_click_is_one_decision_and_is_told_so(sign_in, refunds, stack):
    (title,) = refunds(710)
    bob = sign_in("bob")
    search(bob, title)
    bob.get_by_role("button", name="Approve amount 710").dblclick(delay=5)
    expect(bob.locator("#done")).to_contain_text("bob approved")
    expect(bob.get_by_role("alert")).to_have_count(0)


def test_the_inbox_works_plainly_without_scripts(sign_in, refunds, stack):
    first, second = refunds(810, 820)
    bob = sign_in("bob", java_script_enabled=False)
    search(bob, first)
    bob.get_by_role("link", name=re.compile(re.escape(first))).click()
    bob.get_by_text("Change it before approving").click()
    bob.get_by_label("Amount").fill("800")
    bob.get_by_role("button", name="Show what that changes").click()
    expect(bob.locator("#edited ins")).to_have_text("800")
    bob.get_by_label("Amount").fill("801")  # not what was shown
    bob.get_by_role("button", name="Approve with these changes").click()
    expect(bob.get_by_role("alert")).to_contain_text("changed after the difference was shown")
    bob.get_by_role("button", name="Approve with these changes").click()
    expect(bob.locator("#done")).to_contain_text("approved with changes")
    bob.get_by_role("button", name="Undo").first.click()
    expect(bob.locator(".story")).to_contain_text("took it back")
    assert verdicts(stack, [first, second]) == [None, None]


def test_a_gates_history_tells_who_did_what_when_and_why(sign_in, stack, tmp_path):
    """Escalated twice, claimed, snoozed, delegated, edited by one and approved by another, with a quorum of two."""
    alice, bob, erin = (stack.api(name) for name in ("alice", "bob", "erin"))
    body = {"workflow": "acme-story", "input": {"item": "a lathe", "amount": 700}}
    run = alice.post("/api/runs", json=body).json()["id"]
    gate = stack.finish(run, alice)["gates"][0]["id"]
    end = time.monotonic() + 20
    while bob.get(f"/api/gates/{gate}").json()["level"] < 2:
        assert time.monotonic() < end
        time.sleep(0.2)
    seen = bob.get(f"/api/gates/{gate}").json()
    assert bob.post(f"/api/gates/{gate}/claim", json={}).status_code == 200
    later = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3600))
    assert erin.post(f"/api/gates/{gate}/snooze", json={"until": later, "reason": "in a meeting"}).status_code == 200
    handed = bob.post(f"/api/gates/{gate}/delegate", json={"to": "dave", "reason": "he knows lathes"})
    assert handed.status_code == 200, handed.text
    edited = {"verdict": "edit", "args": {"amount": 650}, "comment": "the list price is 650"}
    edit = {**edited, "version": seen["version"], "proposal_hash": seen["proposal_hash"]}
    assert stack.api("dave").post(f"/api/gates/{gate}/decisions", json=edit).status_code == 201
    page = sign_in("erin")
    page.goto(f"/gates/{gate}/")
    page.locator("#comment").fill("then yes")
    page.get_by_role("button", name="Approve amount 650").click()
    expect(page.locator("#done")).to_contain_text("erin approved")
    page.goto(f"/gates/{gate}/")
    story = page.locator(".story")
    for told in (
        "nobody decided in time; now operator may decide too", "now admin may decide too", "bob claimed it",
        "erin snoozed it until", "in a meeting", "bob passed it on to dave: he knows lathes",
        "dave approved with changes (amount 700 → 650), in place of bob: “the list price is 650” · 1 of 2",
        "erin approved (amount 650): “then yes” · 2 of 2",
    ):  # fmt: skip
        expect(story).to_contain_text(told)
    page.locator(".gate-history").screenshot(path=tmp_path / "story.png")
    assert stack.finish(run, alice)["output"]["bought"] == 650
