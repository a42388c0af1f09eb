"""The main job through real workers: killed workers, a busy gate, an author from outside, the limits of a body."""

import os
import signal
import threading
import time
from datetime import datetime

import httpx

from tests.fan_out_soak import shake


def start(client, workflow, **given):
    made = client.post("/api/runs", json={"workflow": workflow, "input": given})
    assert made.status_code == 201, made.text
    return made.json()["id"]


def journal(client, run):
    return client.get(f"/api/runs/{run}/journal", params={"limit": 200}).json()["items"]


def test_contacts_reach_the_crm_once_each_through_a_gate(stack):
    alice, bob = stack.api("alice"), stack.api("bob")
    rows = [{"name": f"Person {n}", "email": f"p{n}.{time.time_ns()}@example.com"} for n in range(25)]
    run = start(alice, "contacts", contacts=rows, trouble=0.3)
    assert stack.decide(run, bob).status_code == 201
    assert stack.finish(run, alice)["status"] == "succeeded"
    counts = httpx.get(stack.sandbox + "/counts").json()["contact"]
    assert [counts.get(row["email"]) for row in rows] == [1] * 25


def test_a_killed_worker_is_replaced_and_finished_steps_are_kept(stack):
    alice = stack.api("alice")
    run = start(alice, "research", question="What is the two-person rule for?", pace=0.6)
    while alice.get(f"/api/runs/{run}").json()["seq"] < 2:
        time.sleep(0.05)
    time.sleep(0.3)
    before = journal(alice, run)
    os.kill(stack.worker_process(run), signal.SIGKILL)
    killed = time.monotonic()
    while not any(entry["kind"] == "worker_lost" for entry in journal(alice, run)):
        assert time.monotonic() - killed < 3
        time.sleep(0.02)
    while alice.get(f"/api/runs/{run}").json()["status"] != "running":
        assert time.monotonic() - killed < 3
        time.sleep(0.02)
    assert stack.finish(run, alice)["status"] == "succeeded"
    entries = journal(alice, run)
    assert entries[: len(before)] == before
    steps = [entry["step"] for entry in entries if entry["kind"] == "checkpoint"]
    assert len(steps) == len(set(steps))
    lost = next(entry for entry in entries if entry["kind"] == "worker_lost")
    assert lost["detail"]["in_flight"] is True


def test_a_whole_worker_that_dies_takes_no_run_with_it(stack):
    alice = stack.api("alice")
    run = start(alice, "research", question="What is a checkpoint?", pace=0.6)
    time.sleep(1)
    os.kill(stack.worker_of(stack.worker_process(run)), signal.SIGKILL)
    killed = time.monotonic()
    while not any(entry["kind"] == "worker_lost" for entry in journal(alice, run)):
        assert time.monotonic() - killed < 3
        time.sleep(0.05)
    assert stack.finish(run, alice)["status"] == "succeeded"


def test_fifty_decisions_over_http_have_one_outcome(stack):
    alice, bob, erin = stack.api("alice"), stack.api("bob"), stack.api("erin")
    run = start(alice, "refund", order="RACE-50", amount=400)
    gate = bob.get(f"/api/gates/{stack.finish(run, bob)['gates'][0]['id']}").json()
    body = {"verdict": "approve", "version": gate["version"], "proposal_hash": gate["proposal_hash"]}
    codes, barrier = [], threading.Barrier(50)

    def decide(number):
        headers = {"Authorization": (bob if number % 2 else erin).headers["Authorization"]}
        barrier.wait()
        answer = httpx.post(f"{stack.url}/api/gates/{gate['id']}/decisions", json=body, headers=headers, timeout=60)
        codes.append(answer.status_code)

    threads = [threading.Thread(target=decide, args=(number,)) for number in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(codes) == [201] + [409] * 49
    assert stack.finish(run, alice)["status"] == "succeeded"
    entries = journal(alice, run)
    assert [entry["kind"] for entry in entries].count("decided") == 1
    assert [entry["step"] for entry in entries if entry["kind"] == "checkpoint"].count("pay") == 1
    assert httpx.get(stack.sandbox + "/counts").json()["refund"]["RACE-50"] == 1


def test_an_authors_workflow_from_outside_the_repository_runs(stack):
    alice, erin = stack.api("alice"), stack.api("erin")
    run = start(alice, "acme-refund", order="A-1042", amount=420)
    assert stack.decide(run, erin, "edit", args={"amount": 400}).status_code == 201
    found = stack.finish(run, alice)
    assert (found["status"], found["output"]["amount"], found["output"]["receipt"]) == (
        "succeeded", 400, "receipt-A-1042-400",
    )  # fmt: skip
    assert found["usage"] == {"input_tokens": 1200, "output_tokens": 300, "cost_usd": 0.0041}


def test_a_body_over_the_limit_is_a_413(stack):
    token = {"Authorization": f"Bearer {stack.token('alice')}", "Content-Type": "application/json"}
    large = b'{"workflow": "refund", "input": {"order": "' + b"x" * 6_000_000 + b'"}}'
    answer = httpx.post(stack.url + "/api/runs", content=large, headers=token)
    assert (answer.status_code, answer.json()["type"]) == (413, "body-too-large")

    def chunks():
        for _ in range(100):
            yield b"x" * 100_000

    answer = httpx.post(stack.url + "/api/runs", content=chunks(), headers=token)
    assert answer.status_code == 413


def test_readiness_names_each_part(stack):
    found = httpx.get(stack.url + "/readyz").json()
    assert found["ready"] is True
    assert set(found["checks"]) == {"database", "redis", "workers", "sweeper"}


def test_a_long_poll_answers_when_the_gate_opens(stack):
    alice = stack.api("alice")
    run = start(alice, "refund", order="W-1", amount=400)
    found = alice.get(f"/api/runs/{run}", params={"wait": 30}).json()
    assert (found["status"], len(found["gates"])) == ("waiting", 1)


def test_a_stop_in_the_middle_of_a_step_is_charged_to_nothing(stack):
    alice = stack.api("alice")
    run = start(alice, "research", question="What is a checkpoint?", pace=0.6)
    time.sleep(1.5)
    os.kill(stack.worker_of(stack.worker_process(run)), signal.SIGTERM)
    assert stack.finish(run, alice)["status"] == "succeeded"
    entries = journal(alice, run)
    assert "worker_lost" not in [entry["kind"] for entry in entries]
    assert all(
        entry["attempt"] == 1 for entry in entries if entry["kind"] == "checkpoint" and entry["step"] != "extract_claims"
    )


def test_five_hundred_branches_under_sigkill_give_five_hundred_results_and_one_join(stack):
    found = shake(stack, 500, kills=4, every=0.4, seed=1)
    assert (found.status, found.results, found.doubled, found.joins) == ("succeeded", 500, 0, 1)
    assert found.kills >= 2
    assert found.lost >= 1


def test_a_sleep_and_a_signal_take_less_than_a_second_of_their_own(stack):
    """On real workers, with the sweeper's bell: late by less than a second."""
    alice = stack.api("alice")
    run = start(alice, "acme-call", seconds=1.0)
    found = alice.get(f"/api/runs/{run}").json()
    while found["waits_for"] != "go":
        found = alice.get(f"/api/runs/{run}").json()
        time.sleep(0.02)
    assert alice.post(f"/api/runs/{run}/signals", json={"name": "go", "payload": {"n": 1}}).status_code == 202
    assert stack.finish(run, alice)["output"]["signal"] == {"n": 1}
    entries = journal(alice, run)
    slept = next(entry for entry in entries if entry["kind"] == "slept")
    awake = next(entry for entry in entries if entry["kind"] == "checkpoint" and entry["step"] == "listen")
    late = datetime.fromisoformat(awake["started_at"]) - datetime.fromisoformat(slept["detail"]["until"])
    assert 0 <= late.total_seconds() < 1


def test_a_paid_refund_is_rolled_back_and_the_money_is_back(stack):
    alice, carol = stack.api("alice"), stack.api("carol")
    order = f"R-{time.time_ns()}"
    run = start(alice, "refund", order=order, amount=20, reason="It arrived broken in three places.", bounces=True)
    failed = stack.finish(run, alice)
    assert failed["status"] == "failed"
    assert alice.post(f"/api/runs/{run}/roll-back", json={}).status_code == 403
    assert carol.post(f"/api/runs/{run}/roll-back", json={"reason": "cannot be told"}).status_code == 202
    found = stack.finish(run, alice)
    while found["status"] == "rolling_back":
        found = stack.finish(run, alice)
    assert found["status"] == "rolled_back"
    counts = httpx.get(stack.sandbox + "/counts").json()
    receipt = next(entry for entry in journal(alice, run) if entry["step"] == "pay")["detail"]["changed"]["receipt"]["to"]
    assert (counts["refund"][order], counts["void"][receipt]) == (1, 1)
    assert carol.post(f"/api/runs/{run}/roll-back", json={}).status_code == 409
