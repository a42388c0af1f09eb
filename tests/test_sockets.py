"""Sockets as a tail of the journal, against the running stack."""

import json
import time

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

SMALL = {
    "workflow": "refund",
    "input": {"order": "R", "amount": 1, "reason": "The parcel never came, says the courier."},
}


def socket(stack, path, name="alice", **headers):
    given = {"Authorization": f"Bearer {stack.token(name)}"} if name else {}
    headers = {**given, **headers}  # a client that has not read everything would wait for the server's farewell behind it
    return connect(stack.url.replace("http", "ws") + path, additional_headers=headers, open_timeout=10, close_timeout=1)


def until(ws, done, seconds=20):
    """Messages up to the one for which ``done`` holds."""
    messages, end = [], time.monotonic() + seconds
    while time.monotonic() < end:
        messages.append(json.loads(ws.recv(timeout=seconds)))
        if done(messages[-1]):
            return messages
    raise AssertionError(f"nothing like it in {messages}")


def entries(messages):
    return [entry for message in messages for entry in message.get("entries", [])]


def ended(message):
    return message.get("run", {}).get("status") == "succeeded"


def test_a_socket_sees_each_entry_once_and_in_order(stack):
    alice = stack.api("alice")
    run = alice.post("/api/runs", json={"workflow": "refund", "input": {"order": "S-1", "amount": 400}}).json()["id"]
    with socket(stack, f"/ws/runs/{run}/") as ws:
        until(ws, lambda message: message.get("run", {}).get("status") == "waiting")
    with socket(stack, f"/ws/runs/{run}/?after=-1") as ws:
        first = until(ws, lambda message: message.get("run", {}).get("status") == "waiting")
        assert stack.decide(run, stack.api("bob")).status_code == 201
        seen = entries(first + until(ws, ended))
    journal = alice.get(f"/api/runs/{run}/journal").json()["items"]
    assert [entry["seq"] for entry in seen] == [entry["seq"] for entry in journal]
    assert [entry["kind"] for entry in seen] == [entry["kind"] for entry in journal]


def test_a_socket_that_is_cut_and_comes_back_misses_and_doubles_nothing(stack):
    alice = stack.api("alice")
    body = {"workflow": "research", "input": {"question": "What fails in approvals?", "pace": 0.15}}
    run = alice.post("/api/runs", json=body).json()["id"]
    seen, after, status = [], -1, ""
    while status != "succeeded":
        with socket(stack, f"/ws/runs/{run}/?after={after}") as ws:
            for _ in range(3):
                message = json.loads(ws.recv(timeout=20))
                seen += message.get("entries", [])
                status = message.get("run", {}).get("status", status)
                after = seen[-1]["seq"] if seen else -1
                if status == "succeeded":
                    break
    assert [entry["seq"] for entry in seen] == list(range(len(seen)))
    assert seen[-1]["kind"] == "ended"


def test_progress_comes_over_the_same_socket(stack):
    body = {"workflow": "research", "input": {"question": "What is a lock?", "pace": 0.3}}
    run = stack.api("alice").post("/api/runs", json=body).json()["id"]
    with socket(stack, f"/ws/runs/{run}/") as ws:
        found = until(ws, lambda message: "progress" in message)[-1]["progress"]
    assert set(found) == {"step", "fraction", "message"}


def test_an_after_beyond_the_journal_is_answered_with_a_reset(stack):
    run = stack.api("alice").post("/api/runs", json=SMALL).json()["id"]
    with socket(stack, f"/ws/runs/{run}/?after=5000") as ws:
        messages = until(ws, ended)
    assert messages[0] == {"reset": True}
    assert entries(messages)[0]["seq"] == 0


def test_the_html_format_carries_fragments_and_the_seq(stack):
    run = stack.api("alice").post("/api/runs", json=SMALL).json()["id"]
    with socket(stack, f"/ws/runs/{run}/?format=html") as ws:
        message = until(ws, lambda message: message.get("status") == "succeeded")[-1]
    assert "<hx-partial" in message["content"]
    assert message["seq"] >= 0


def test_the_lists_send_a_snapshot_first_and_then_what_changes(stack):
    alice = stack.api("alice")
    with socket(stack, "/ws/gates/", "bob") as gates, socket(stack, "/ws/runs/") as runs:
        body = {"workflow": "acme-refund", "input": {"order": "L-1", "amount": 9}}
        run = alice.post("/api/runs", json=body).json()["id"]
        found = until(gates, lambda message: message["gate"]["run"] == run)[-1]["gate"]
        assert (found["status"], found["title"]) == ("open", "Refund 9 for L-1")
        until(runs, lambda message: message["run"]["id"] == run and message["run"]["status"] == "waiting")
        assert stack.decide(run, stack.api("bob"), "reject", comment="no").status_code == 201
        assert until(gates, lambda message: message["gate"]["id"] == found["id"])[-1]["gate"]["status"] == "decided"
        until(runs, lambda message: message["run"]["id"] == run and message["run"]["status"] == "rejected")


@pytest.mark.parametrize(
    ("path", "name", "headers", "code"),
    [
        ("/ws/runs/", None, {}, 4401),
        ("/ws/runs/", None, {"Authorization": "Bearer hf_wrong"}, 4401),
        ("/ws/runs/3989e27f-5886-4748-b699-05c0f20f116c/", "alice", {}, 4404),
    ],
)
def test_who_may_not_watch_is_closed_with_the_code(stack, path, name, headers, code):
    with socket(stack, path, name, **headers) as ws, pytest.raises(ConnectionClosed) as closed:
        ws.recv(timeout=10)
    assert closed.value.rcvd.code == code


def test_a_session_from_another_origin_is_refused(stack):
    cookie = "; ".join(f"{name}={value}" for name, value in stack.session("alice").items())
    with socket(stack, "/ws/runs/", None, Cookie=cookie, Origin="http://evil.example") as ws:
        with pytest.raises(ConnectionClosed) as closed:
            ws.recv(timeout=10)
        assert closed.value.rcvd.code == 4403
    with socket(stack, "/ws/runs/", None, Cookie=cookie, Origin=stack.url) as ws:
        assert "run" in json.loads(ws.recv(timeout=10))
