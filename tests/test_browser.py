"""What people do, in a real browser against real workers."""

import re
import time

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.pages import browser, sign_in_as

assert browser  # a fixture


@pytest.fixture
def sign_in(browser: Browser, stack):
    """``sign_in("bob")``: a page of their own; at the end no page may have complained."""
    contexts, complaints = [], []

    def enter(name: str, **options) -> Page:
        context = browser.new_context(base_url=stack.url, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text) if _is_complaint(message) else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        outside = re.compile(rf"^(?!{re.escape(stack.url)}|data:|ws://127\.0\.0\.1)")
        page.on("request", lambda request: complaints.append(request.url) if outside.match(request.url) else None)
        return sign_in_as(page, stack, name)

    yield enter
    for context in contexts:
        context.close()
    assert complaints == []


def seqs_of(page: Page) -> list[int]:
    """The entries that the timeline's rows hold, each once."""
    return sorted(int(text) for text in page.locator("#timeline .entry-seq").all_text_contents())


CUT = """() => {
    const address = document.getElementById("tail").getAttribute("hx-ws:connect");
    htmx.ext.ws.getRegistry().get(address)?.socket.close();
}"""


LEFT = "WebSocket is closed before the connection is established"  # a page that was left so soon: hx-ws closes its socket


def _is_complaint(message) -> bool:
    """Errors and warnings, but for Chromium's own lines about a 422, which is how a form is refused, and about LEFT."""
    return message.type in ("error", "warning") and "status of 422" not in message.text and LEFT not in message.text


def csv_of(count: int) -> tuple[str, list[str]]:
    emails = [f"b{number}.{time.time_ns()}@example.com" for number in range(count)]
    rows = [f"Person {number},{email},Acme" for number, email in enumerate(emails)]
    return "\n".join(["name,email,company", *rows]) + "\n", emails


def test_alice_imports_a_csv_and_bob_approves_in_another_browser(sign_in, stack):
    alice, bob = sign_in("alice"), sign_in("bob", viewport={"width": 390, "height": 844}, has_touch=True)
    bob.goto("/gates/")
    before = bob.get_by_role("listitem").filter(has_text="Import 45 contacts").count()
    text, emails = csv_of(45)
    alice.goto("/runs/new/contacts/")
    file = {"name": "people.csv", "mimeType": "text/csv", "buffer": text.encode()}
    alice.get_by_label("Contacts (CSV)").set_input_files([file])
    alice.get_by_role("button", name="Start contacts").click()
    expect(alice.locator("#run-header")).to_contain_text("waiting")
    expect(alice.locator(".gate-strip")).to_contain_text("Import 45 contacts")

    mine = bob.get_by_role("listitem").filter(has_text="Import 45 contacts")
    expect(mine).to_have_count(before + 1)  # without a reload
    mine.first.get_by_role("link").click()
    expect(bob.get_by_text("branches of “write”, each of which changes the world outside")).to_be_visible()
    bob.get_by_role("button", name="Approve").first.click()
    expect(bob.get_by_role("status").filter(has_text="bob approved")).to_be_visible()

    header = alice.locator("#run-header")
    expect(header).to_contain_text("succeeded", timeout=20_000)  # without a reload
    assert seqs_of(alice) == list(range(len(seqs_of(alice))))
    expect(alice.locator("#branches")).to_contain_text("Done 5")
    counts = httpx.get(stack.sandbox + "/counts").json()["contact"]
    assert [counts.get(email) for email in emails] == [1] * 45


def test_a_bad_row_is_named_by_its_line_and_nothing_starts(sign_in, stack):
    alice = sign_in("alice")
    before = len(stack.api("alice").get("/api/runs?workflow=contacts&limit=200").json()["items"])
    alice.goto("/runs/new/contacts/")
    text = "name,email\nAda,ada@example.com\nBob,no-address\n"
    file = {"name": "people.csv", "mimeType": "text/csv", "buffer": text.encode()}
    alice.get_by_label("Contacts (CSV)").set_input_files([file])
    with alice.expect_response(lambda response: response.request.method == "POST") as posted:
        alice.get_by_role("button", name="Start contacts").click()
    assert posted.value.status == 422
    expect(alice.get_by_role("alert")).to_contain_text("line 3: email")
    assert len(stack.api("alice").get("/api/runs?workflow=contacts&limit=200").json()["items"]) == before


def test_an_approver_changes_the_amount_and_exactly_that_is_paid(sign_in, stack):
    order = f"B-{time.time_ns()}"
    reason = "<script>alert(1)</script> ![x](http://t.example/x.png) [here](https://evil.example/)"
    body = {"workflow": "refund", "input": {"order": order, "amount": 400, "reason": reason}}
    run = stack.api("alice").post("/api/runs", json=body).json()["id"]
    gate = stack.finish(run, stack.api("alice"))["gates"][0]["id"]
    erin = sign_in("erin")
    erin.goto(f"/gates/{gate}/")
    written = erin.locator(".gate-written")
    expect(written).to_contain_text("<script>alert(1)</script>")
    expect(written).to_contain_text("(evil.example)")
    assert written.locator("img, script").count() == 0
    erin.get_by_text("Change it before approving").click()
    erin.get_by_label("Amount").fill("250")
    erin.get_by_role("button", name="Approve with these changes").click()
    expect(erin.get_by_role("status").filter(has_text="erin approved with changes")).to_be_visible()
    assert stack.finish(run, erin_api := stack.api("erin"))["output"]["amount"] == 250
    assert erin_api.get(f"/api/gates/{gate}").json()["outcome"]["verdict"] == "edit"


def test_an_open_gate_page_says_when_somebody_else_was_first(sign_in, stack):
    body = {"workflow": "refund", "input": {"order": f"F-{time.time_ns()}", "amount": 400}}
    run = stack.api("alice").post("/api/runs", json=body).json()["id"]
    gate = stack.finish(run, stack.api("alice"))["gates"][0]["id"]
    bob = sign_in("bob")
    bob.goto(f"/gates/{gate}/")
    bob.get_by_label("Comment, or words for the agent").fill("I am writing this")
    expect(bob.locator("#live")).to_have_text("live")
    assert stack.decide(run, stack.api("erin")).status_code == 201
    expect(bob.get_by_text("This gate has changed since you opened it")).to_be_visible()
    assert bob.get_by_label("Comment, or words for the agent").input_value() == "I am writing this"


def test_an_operator_holds_and_releases_a_run_from_its_page(sign_in, stack):
    body = {"workflow": "research", "input": {"question": "What is a checkpoint?", "pace": 0.5}}
    run = stack.api("alice").post("/api/runs", json=body).json()["id"]
    alice = sign_in("alice")
    alice.goto(f"/runs/{run}/")
    alice.get_by_role("button", name="Hold", exact=True).click()
    alice.locator("#hold-reason").fill("the bank is closed")
    alice.get_by_role("button", name="Hold this run").click()
    expect(alice.locator("#run-header")).to_contain_text("held", timeout=10_000)
    expect(alice.locator("#run-header")).to_contain_text("the bank is closed")
    alice.get_by_role("button", name="Release", exact=True).click()
    alice.get_by_role("button", name="Release this run").click()
    expect(alice.locator("#run-header")).to_contain_text("succeeded", timeout=20_000)


def test_a_page_that_lost_its_socket_catches_up_without_gaps(sign_in, stack):
    body = {"workflow": "research", "input": {"question": "What is a checkpoint?", "pace": 0.4}}
    run = stack.api("alice").post("/api/runs", json=body).json()["id"]
    alice = sign_in("alice")
    alice.goto(f"/runs/{run}/")
    expect(alice.locator("#live")).to_have_text("live")
    for _ in range(2):
        alice.evaluate(CUT)
        alice.wait_for_timeout(900)
    expect(alice.locator("#run-header")).to_contain_text("succeeded", timeout=20_000)
    assert seqs_of(alice) == list(range(len(seqs_of(alice))))


def test_every_page_works_for_a_viewer_and_offers_nothing_to_press(sign_in, stack):
    dave = sign_in("dave")
    for path in ("/runs/", "/gates/", "/gates/?tab=open", "/gates/?tab=history", "/workflows/"):
        assert dave.goto(path).status == 200
    assert dave.get_by_role("link", name="Start a run").count() == 0


def test_the_design_page_is_for_staff(sign_in, stack):
    carol = sign_in("carol")
    assert carol.goto("/design/").status == 200
    expect(carol.get_by_role("heading", name="Design language")).to_be_visible()


def test_a_worker_is_killed_from_its_card_and_the_page_tells_the_rest(sign_in, stack):
    alice = sign_in("alice")
    given = {"question": "Who keeps bees?", "pace": 0.8}
    run = stack.api("alice").post("/api/runs", json={"workflow": "research", "input": given}).json()["id"]
    alice.goto(f"/runs/{run}/")
    expect(alice.locator("#rows .span")).to_have_count(2, timeout=15_000)  # a finished step
    alice.get_by_role("button", name="Kill this worker").click()
    card = alice.locator("#worker-card")
    expect(card).to_contain_text("another worker went on after", timeout=15_000)
    expect(card).to_contain_text("did not run again")
    expect(alice.locator("#run-header")).to_contain_text("resuming saved")
    expect(alice.locator("#timeline")).to_contain_text("killed its worker")
    alice.get_by_role("button", name="Hold before…").click()
    alice.get_by_label("Step", exact=True).select_option("weigh")
    alice.get_by_role("button", name="Hold before it").click()
    expect(alice.locator("#run-header")).to_contain_text("holds before", timeout=10_000)
    expect(alice.locator("#run-header")).to_contain_text("breakpoint before weigh", timeout=30_000)
    stack.api("alice").post(f"/api/runs/{run}/cancel", json={})


def test_an_operator_says_on_a_phone_what_happened(sign_in, stack):
    alice = sign_in("alice", viewport={"width": 390, "height": 844}, has_touch=True)
    given = {"to": f"Ada {time.time_ns()}", "text": "Dear Ada", "trouble": 1}
    run = stack.api("alice").post("/api/runs", json={"workflow": "letter", "input": given}).json()["id"]
    waiting = stack.finish(run, stack.api("alice"))
    alice.goto(f"/gates/{waiting['gates'][0]['id']}/")
    expect(alice.locator("main")).to_contain_text("POST /letters")
    alice.get_by_label("Receipt").fill("r-17")
    alice.get_by_role("button", name="It happened").click()
    expect(alice.locator("main")).to_contain_text("says that it happened")
    done = stack.finish(run, stack.api("alice"))
    assert (done["status"], done["output"]["receipt"]) == ("succeeded", "r-17")
    assert httpx.get(stack.sandbox + "/counts").json()["letter"][given["to"]] == 1


def test_a_dialog_stays_open_while_the_run_moves_on(sign_in, stack):
    alice = sign_in("alice")
    given = {"question": "Who keeps bees?", "pace": 0.5}
    run = stack.api("alice").post("/api/runs", json={"workflow": "research", "input": given}).json()["id"]
    alice.goto(f"/runs/{run}/")
    alice.get_by_role("button", name="Cancel").click()
    alice.locator("#cancel-reason").fill("because of the bees")
    stack.api("alice").post(f"/api/runs/{run}/hold", json={})
    expect(alice.locator("#run-header")).to_contain_text("held", timeout=10_000)
    expect(alice.locator("#cancel-reason")).to_have_value("because of the bees")
    alice.locator("#cancel-dialog").get_by_role("button", name="Keep as it is").click()
    expect(alice.get_by_role("button", name="Release", exact=True)).to_be_visible()
    stack.api("alice").post(f"/api/runs/{run}/cancel", json={})


def test_a_fan_out_ticks_live_and_its_failed_branch_is_retried_alone(sign_in, stack):
    """The branches' panel comes and goes on by itself; the tab that was chosen stays."""
    alice, bob = sign_in("alice"), stack.api("bob")
    rows = [{"name": f"Person {n}", "email": f"f{n}.{time.time_ns()}@example.com"} for n in range(60)]
    body = {"workflow": "contacts", "input": {"contacts": rows, "refused": 2}}
    run = stack.api("alice").post("/api/runs", json=body).json()["id"]
    alice.goto(f"/runs/{run}/")
    expect(alice.locator(".gate-strip")).to_contain_text("Import 60 contacts")
    stack.decide(run, bob)
    expect(alice.locator("#run-header")).to_contain_text("1 failed")
    expect(alice.locator("#run-header")).to_contain_text("branch 2: the CRM turns this batch away")
    expect(alice.locator("#branches")).to_contain_text("sent by split, 4 at a time")
    alice.locator("#branches").get_by_role("link", name="Failed").click()
    expect(alice.locator("#branches .branch")).to_have_count(1)
    alice.get_by_role("button", name="Retry", exact=True).click()
    alice.get_by_role("button", name="Retry from this step").click()
    expect(alice.locator("#run-header")).to_contain_text("succeeded")
    expect(alice.locator("#branches .branch")).to_have_count(0)  # still the failed ones, of which there are none
    alice.locator("#branches").get_by_role("link", name="Done").click()
    expect(alice.locator("#branches .branch")).to_have_count(6)
    counts = httpx.get(stack.sandbox + "/counts").json()["contact"]
    assert [counts.get(row["email"]) for row in rows] == [1] * 60


def test_an_admin_rolls_a_run_back_from_its_page(sign_in, stack):
    order = f"B-{time.time_ns()}"
    given = {"order": order, "amount": 30, "reason": "It never came, says the courier.", "bounces": True}
    run = stack.api("alice").post("/api/runs", json={"workflow": "refund", "input": given}).json()["id"]
    carol = sign_in("carol", viewport={"width": 390, "height": 844})
    carol.goto(f"/runs/{run}/")
    expect(carol.locator("#run-header")).to_contain_text("failed")
    carol.get_by_role("button", name="Roll back", exact=True).click()
    expect(carol.get_by_text("1 × pay will be undone")).to_be_visible()
    carol.locator("#roll-back-reason").fill("nobody can be told")
    carol.get_by_role("button", name="Roll back this run").click()
    expect(carol.locator("#run-header")).to_contain_text("rolled back")
    expect(carol.locator("#timeline")).to_contain_text("the run was rolled back, 1 undone")
    assert carol.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_an_admin_forks_a_refund_with_the_amount_corrected(sign_in, stack):
    body = {"workflow": "refund", "input": {"order": "A-fork", "amount": 420, "reason": "broken"}}
    run = stack.api("alice").post("/api/runs", json=body).json()["id"]
    assert stack.finish(run, stack.api("alice"))["status"] == "waiting"
    carol = sign_in("carol")
    carol.goto(f"/runs/{run}/")
    carol.locator("#row-1 summary").click()
    carol.locator("#row-1").get_by_role("link", name="Fork from here").click()
    plan = carol.locator("#fork-plan")
    expect(plan).to_contain_text("Nothing in the state is changed")
    carol.get_by_label("Amount").fill("0")
    expect(plan).to_contain_text("greater than or equal to 1")
    carol.get_by_label("Amount").fill("380")
    expect(plan).to_contain_text("380")
    expect(plan.locator("del")).to_have_text("420")
    carol.get_by_label("Reason, for the journal").fill("a typing error")
    carol.get_by_label("The run that you fork").select_option("is cancelled")
    carol.get_by_role("button", name=re.compile("^Fork …")).click()
    carol.wait_for_url(re.compile(rf"/runs/(?!{run})[0-9a-f-]+/$"))
    expect(carol.locator("#run-header")).to_contain_text("amount 420 → 380: a typing error")
    expect(carol.locator("#run-controls")).to_contain_text("Refund 380 € for A-fork")
    fork = carol.url.rstrip("/").rpartition("/")[2]
    bob = sign_in("bob", viewport={"width": 390, "height": 844})
    gate = stack.api("bob").get(f"/api/gates?status=open&run={fork}").json()["items"][0]
    bob.goto(f"/gates/{gate['id']}/")
    bob.get_by_role("button", name=re.compile("^Approve")).click()
    expect(bob.locator("#done")).to_contain_text("bob approved")
    assert stack.finish(fork, stack.api("alice"))["output"]["amount"] == 380
    carol.goto(f"/runs/{run}/lineage/")
    expect(carol.locator(".relative")).to_have_count(2)
    expect(carol.locator(".lineage").first).to_contain_text("420 → 380")
    assert stack.api("alice").get(f"/api/runs/{run}").json()["status"] == "cancelled"


def test_a_state_is_searched_opened_and_its_secret_revealed(sign_in, stack):
    given = {
        "order": "A-look",
        "amount": 40,
        "account": "DE02 1203 0000 0000 2020 51",
        "reason": "The parcel **never** came. " * 20,
    }
    run = stack.api("alice").post("/api/runs", json={"workflow": "refund", "input": given}).json()["id"]
    assert stack.finish(run, stack.api("alice"))["status"] == "succeeded"
    carol = sign_in("carol")
    carol.goto(f"/runs/{run}/journal/")
    panel = carol.locator("#state")
    expect(panel).to_contain_text("Changed here")
    expect(carol.locator(".proof")).to_contain_text("The whole history is as it was written")
    assert "DE02" not in carol.content()
    panel.get_by_label("Search this state").fill("never")
    expect(panel.locator(".state-tree")).to_contain_text("1 place with “never”")
    panel.locator(".state-tree summary").click()
    panel.get_by_role("link", name="Read as Markdown").click()
    expect(panel.locator(".prose strong").first).to_have_text("never")
    panel.get_by_label("Search this state").fill("")
    panel.get_by_role("button", name="Reveal").click()
    dialog = carol.locator("#reveal-account")
    dialog.get_by_label("Reason").fill("the customer asks")
    dialog.get_by_role("button", name="Reveal account").click()
    expect(dialog.locator(".revealed")).to_have_text("DE02 1203 0000 0000 2020 51")
    dialog.get_by_role("button", name="Close").click()
    expect(dialog.locator(".revealed")).to_have_count(0)
    assert "DE02" not in carol.content()
    expect(carol.locator("#journal")).to_contain_text("looked at the secret")
    panel.get_by_role("link", name="Compare").click()
    expect(carol.locator(".difference").first).to_be_visible()
    carol.goto(f"/runs/{run}/history/?key=notes")
    expect(carol.locator(".table tbody tr")).to_have_count(2)
