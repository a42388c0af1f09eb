"""An operator's day in a real browser: what is stuck, why, and what to do about it."""

import gzip
import re
import time

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.pages import browser, sign_in_as
from tests.test_browser import sign_in

assert browser and sign_in  # fixtures

LIMIT = 150 * 1024  # bytes of HTML, CSS and JS of a run's page, compressed
REASON = "a long enough reason to be plausible"


def started(stack, workflow="refund", **given):
    body = {"workflow": workflow, "input": given}
    return stack.api("alice").post("/api/runs", json=body).raise_for_status().json()["id"]


@pytest.fixture(scope="module")
def failed(stack):
    """A refund whose customer cannot be told."""
    run = started(stack, order=f"D-{time.time_ns()}", amount=40, reason=REASON, bounces=True)
    assert stack.finish(run, stack.api("alice"))["status"] == "failed"
    return run


@pytest.fixture
def stuck(stack):
    """A run whose step has been in flight for longer than half of its timeout: the sweeper finds it."""
    run = started(stack, "research", question="What is a signal box?", pace=30)
    with stack.database() as connection:
        end = time.monotonic() + 20
        while time.monotonic() < end:
            moved = connection.execute(
                "UPDATE runs_run SET step_started_at = step_started_at - interval '200 seconds' "
                "WHERE id = %s AND step_started_at < now() - interval '1 second' RETURNING id", [run]
            ).fetchone()  # fmt: skip
            if moved:
                break
            time.sleep(0.1)
    yield run
    stack.api("alice").post(f"/api/runs/{run}/cancel", json={})


def rows_of(page: Page) -> list[str]:
    """The timeline's rows, each with its state."""
    rows: list[str] = page.locator("#timeline .span").evaluate_all("rows => rows.map(row => row.id + row.dataset.state).sort()")
    return rows


def offline(page: Page, is_so: bool) -> None:
    page.context.set_offline(is_so)
    if is_so:  # Chromium keeps sockets that are open
        page.evaluate("""() => {
            const address = document.getElementById("tail").getAttribute("hx-ws:connect");
            htmx.ext.ws.getRegistry().get(address)?.socket.close();
        }""")


def test_the_stuck_run_is_found_from_the_overview_and_its_step_is_named(sign_in, stuck):
    alice = sign_in("alice")
    alice.goto("/")
    look = alice.locator(".looks")
    expect(look).to_contain_text("stuck at", timeout=15_000)
    look.get_by_role("link", name=re.compile("research")).first.click()
    header = alice.locator("#run-header")
    expect(header).to_contain_text("stuck")
    expect(header).to_contain_text("an operator should look")
    alice.goto("/runs/?view=stuck")
    expect(alice.locator(f"#run-{stuck}")).to_be_visible()


def test_a_failed_run_is_found_by_its_cause_understood_and_retried(sign_in, stack, failed):
    alice = sign_in("alice")
    alice.goto("/")
    cause = alice.locator(".causes li").filter(has_text="mailbox does not exist").first
    expect(cause).to_contain_text("refund › tell")
    cause.locator(".cause-count").click()
    alice.locator(f"#run-{failed} .row-link").click()
    header = alice.locator("#run-header")
    expect(header).to_contain_text("an operator: it does not go on by itself")
    expect(header).to_contain_text("pay happened")
    expect(header).to_contain_text("the customer's mailbox does not exist")
    alice.keyboard.press("f")
    expect(alice.locator(".span summary:focus")).to_contain_text("tell")
    alice.keyboard.press("Enter")
    expect(alice.locator(".span details[open]")).to_contain_text("attempt 1 failed")
    alice.get_by_role("button", name="Retry", exact=True).click()
    dialog = alice.locator("#retry-dialog")
    expect(dialog).to_contain_text("3 finished steps kept. tell runs again with the same idempotency key.")
    dialog.get_by_role("button", name="Retry from this step").click()
    expect(alice.locator("#timeline")).to_contain_text("tried again")  # without a reload
    assert stack.finish(failed, stack.api("alice"))["status"] == "failed"
    expect(header).to_contain_text("failed")
    counts = httpx.get(stack.sandbox + "/counts").json()["refund"]
    assert counts[stack.api("alice").get(f"/api/runs/{failed}").json()["input"]["order"]] == 1


def test_an_operator_says_that_they_are_on_it(sign_in, failed):
    alice, carol = sign_in("alice"), sign_in("carol")
    carol.goto(f"/runs/{failed}/")
    alice.goto(f"/runs/{failed}/")
    alice.get_by_role("button", name="Note…").click()
    alice.get_by_role("button", name="Note it").click()
    expect(carol.locator("#run-header")).to_contain_text("alice is on it")  # without a reload


def test_a_row_that_follows_is_drawn_once_and_the_graph_follows_too(sign_in, stack):
    run = started(stack, "research", question="What is a checkpoint?", pace=0.3)
    alice, other = sign_in("alice"), sign_in("alice")
    alice.goto(f"/runs/{run}/")
    other.goto(f"/runs/{run}/graph/")
    expect(alice.locator("#run-header")).to_contain_text("succeeded", timeout=30_000)
    live = rows_of(alice)
    alice.reload()
    fresh = rows_of(alice)
    assert live == fresh and len(set(live)) == len(live)
    expect(other.locator('.node[data-state="done"]', has_text="publish")).to_have_count(1)


def test_a_workflow_is_held_and_released_from_the_palette(sign_in, stack):
    alice = sign_in("alice")
    alice.goto("/")
    for verb in ("Hold", "Release"):
        alice.keyboard.press("Control+k")
        alice.keyboard.type(f"{verb} letter")
        expect(alice.locator("#commands [aria-selected=true]")).to_contain_text(f"{verb} letter")
        alice.keyboard.press("Enter")
        dialog = alice.locator('[popover][id^="hold-letter"]:popover-open')
        expect(dialog).to_be_visible()
        dialog.get_by_role("button", name=f"{verb} letter").click()
        expect(alice.get_by_text("Held by alice").first).to_be_visible(visible=verb == "Hold")


def test_a_view_is_saved_with_the_keyboard_and_shared(sign_in, stack):
    alice, dave = sign_in("alice"), sign_in("dave")
    alice.goto("/runs/")
    alice.keyboard.press("/")
    alice.keyboard.type("status:fai")
    expect(alice.locator("#completions [role=option]")).to_have_count(1)
    alice.keyboard.press("ArrowDown")
    alice.keyboard.press("Tab")
    expect(alice.locator("#query")).to_have_value("status:failed ")
    alice.keyboard.press("Escape")
    alice.keyboard.press("Enter")
    alice.wait_for_url(re.compile("query=status"))
    alice.get_by_role("button", name="Save as a view").click()
    name = f"Broken {time.time_ns()}"
    alice.get_by_label("Name", exact=True).fill(name)
    alice.get_by_label("Who else sees it").select_option("viewer")
    alice.get_by_role("button", name="Save it").click()
    expect(alice.locator(".tabs [aria-current]")).to_contain_text(name)
    dave.goto("/runs/")
    expect(dave.get_by_role("link", name=name)).to_be_visible()
    alice.get_by_role("button", name="Delete this view").click()
    alice.get_by_role("button", name="Delete it").click()
    expect(alice.get_by_role("link", name=name)).to_have_count(0)


def test_new_runs_are_announced_and_move_nothing(sign_in, stack, failed):
    alice = sign_in("alice")
    alice.goto("/runs/?query=workflow:refund")
    expect(alice.locator("#live")).to_have_text("live")
    first = alice.locator("#runs tr").first.get_attribute("id")
    started(stack, "research", question="Not wanted here?", pace=0)
    run = started(stack, order="N-1", amount=20, reason=REASON)
    expect(alice.locator("#news")).to_contain_text("1 new run")
    assert alice.locator("#runs tr").first.get_attribute("id") == first
    alice.locator("#news a").click()
    expect(alice.locator("#runs tr").first).to_have_attribute("id", f"run-{run}")


def test_without_a_network_the_page_says_as_of_when_and_comes_back_whole(browser, stack):
    """A minute is long for a suite: the page counts as cut off as soon as its socket is, however long that lasts."""
    context = browser.new_context(base_url=stack.url)
    alice = sign_in_as(context.new_page(), stack, "alice")
    run = started(stack, "research", question="What is a checkpoint?", pace=0.3)
    alice.goto(f"/runs/{run}/")
    expect(alice.locator("#live")).to_have_text("live")
    offline(alice, True)
    expect(alice.locator("#live")).to_contain_text(
        re.compile(r"reconnecting · up to date as of \d\d:\d\d:\d\d"), timeout=20_000
    )
    stack.finish(run, stack.api("alice"))
    assert "succeeded" not in alice.locator("#run-header").inner_text()
    offline(alice, False)
    expect(alice.locator("#run-header")).to_contain_text("succeeded", timeout=30_000)
    live = rows_of(alice)
    alice.reload()
    assert live == rows_of(alice)
    context.close()


def test_where_no_socket_can_be_had_the_page_asks_by_itself(browser, stack):
    context = browser.new_context(base_url=stack.url)
    page = context.new_page()
    page.route_web_socket(re.compile("/ws/"), lambda socket: socket.close())
    alice = sign_in_as(page, stack, "alice")
    run = started(stack, "research", question="What is a checkpoint?", pace=0.2)
    alice.goto(f"/runs/{run}/")
    expect(alice.locator("#live")).to_contain_text("live updates paused, refreshing every 5 s", timeout=30_000)
    expect(alice.locator("#run-header")).to_contain_text("succeeded", timeout=30_000)
    context.close()


def test_a_runs_page_is_light(browser, stack, failed):
    context = browser.new_context(base_url=stack.url)
    page = sign_in_as(context.new_page(), stack, "alice")
    weights = {}

    def weigh(response):
        if response.request.resource_type in ("document", "stylesheet", "script"):
            weights[response.url] = len(gzip.compress(response.body()))

    page.on("response", weigh)
    page.goto(f"/runs/{failed}/")
    page.wait_for_load_state("networkidle")
    context.close()
    assert sum(weights.values()) < LIMIT, sorted(weights.items(), key=lambda one: -one[1])[:5]


def test_times_are_shown_in_the_zone_that_was_chosen(sign_in, failed):
    dave = sign_in("dave")
    dave.goto("/runs/")
    dave.locator(".menu summary").click()
    dave.get_by_role("button", name="Show times in UTC").click()
    dave.goto(f"/runs/{failed}/journal/")
    expect(dave.locator("#live")).to_have_text("live")
    moment = dave.locator(".entry time").first
    assert (moment.get_attribute("datetime") or "")[11:19] == moment.inner_text()
    dave.locator(".menu summary").click()
    dave.get_by_role("button", name="Show times in my zone").click()
    expect(dave.locator("html")).not_to_have_attribute("data-zone", "UTC")
    expect(dave.locator("#live")).to_have_text("live")  # a socket that is cut off while it opens is complained of
