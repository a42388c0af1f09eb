"""What a review of forks, stores and secrets proved broken, each once."""

import json
from datetime import timedelta
from typing import Annotated, Any

import psycopg
import pytest
from django.contrib.auth.models import Group
from pydantic import BaseModel, model_validator

from approvals.models import Gate
from checkpoints import contents, current, pruning, sealing, store, verifying
from checkpoints.models import Checkpoint, DataKey
from engine import insisting, pausing
from engine.portable import importing
from engine.services import controls, deadlines, forking, starting
from holdfast.models import StoredAnswer
from runs import reading
from runs.clock import Now
from runs.models import Event, Run
from tests.flows import Counter, Pay, calls, script
from tests.test_portable import elsewhere, text_of
from tests.test_secrets import everything_stored
from workflows import (
    Add,
    End,
    Goto,
    NotHappened,
    Policy,
    Proposal,
    Retry,
    Secret,
    Sleep,
    State,
    Transient,
    Workflow,
    masking,
    registry,
)  # fmt: skip

pytestmark = pytest.mark.django_db
FINANCE = Policy(approvers=["group:finance"])


def fresh(run: Run) -> Run:
    return Run.objects.get(pk=run.pk)


@pytest.fixture
def carry(worker: Any) -> Any:
    def on(run: Run) -> Run:
        for _ in range(60):
            if not worker(run):
                break
        return fresh(run)

    return on


@pytest.fixture
def fork(people: Any) -> Any:
    return lambda run, seq, **more: forking.fork(run.pk, by=people.carol, seq=seq, **more)


@pytest.fixture
def flow() -> Any:
    """``flow(state)``: a workflow of this test's own, gone with it."""
    made: list[str] = []

    def make(state: type[State] = Counter, version: str = "1", **options: Any) -> Any:
        made.append("t-own")
        return Workflow("t-own", state=state, version=version, **options)

    yield make
    for name in made:
        registry.forget(name)


# -- what is approved, and by whom


def instalments(flow: Any) -> None:
    own = flow()

    @own.gate(policy=FINANCE, verdicts=["approve", "reject"], on_reject="no")
    def boss(state: Any) -> Proposal:
        return Proposal("Pay an instalment", action=Pay(amount=state.amount))

    @own.effect(approved_by="boss")
    def pay(state: Any) -> Any:
        calls.append(f"pay {state.n}")
        return Goto("boss", n=state.n + 1)

    @own.step
    def no(state: Any) -> Any:
        return End()


def test_one_approval_is_taken_over_once_and_not_past_a_later_rejection(flow, make_run, carry, fork, answer):
    instalments(flow)
    run = carry(make_run("t-own", amount=5))
    for verdict in ("approve", "approve", "reject"):
        answer(Gate.objects.get(run=run, status="open"), "bob", verdict)
        run = carry(run)
    calls.clear()
    found = carry(fork(run, 0, effects="execute"))
    assert (found.status, calls) == ("waiting", [])  # the last word on that proposal was no
    Gate.objects.filter(run=run, outcome_verdict="reject").delete()
    found = carry(fork(run, 0, effects="execute"))
    assert (found.status, calls) == ("waiting", ["pay 0", "pay 1"])  # two approvals, two payments


def test_an_older_approval_does_not_stand_in_for_ones_own(flow, make_run, carry, fork, answer, people):
    people.carol.groups.add(Group.objects.get(name="finance"))
    own = flow()

    @own.gate(policy=Policy(approvers=["group:finance"], allow_self=False))
    def boss(state: Any) -> Proposal:
        return Proposal(f"Payment {state.n}", action=Pay(amount=state.amount))

    @own.effect(approved_by="boss")
    def pay(state: Any) -> Any:
        calls.append(f"pay {state.n}")
        return Goto("boss", n=state.n + 1) if state.n == 0 else End()

    run = carry(make_run("t-own", amount=5))
    for who in ("bob", "carol"):
        answer(Gate.objects.get(run=run, status="open"), who, "approve")
        run = carry(run)
    calls.clear()
    found = carry(fork(run, Checkpoint.objects.filter(run=run, step="boss").last().seq, effects="execute"))
    assert (found.status, found.step, calls) == ("waiting", "boss", [])


def test_an_approval_under_another_policy_does_not_hold_in_another_version(flow, carry, fork, answer, people):
    for version, approvers in (("1", ["group:finance"]), ("2", ["user:erin"])):
        own = flow(version=version)
        own.gate(policy=Policy(approvers=approvers))(_boss)
        own.effect(approved_by="_boss")(_pay)
    run, _ = starting.start(workflow="t-own", input={"amount": 400}, by=people.alice)
    Run.objects.filter(pk=run.pk).update(version="1")
    run = carry(run)
    answer(Gate.objects.get(run=run), "bob", "approve")
    run = carry(run)
    calls.clear()
    found = carry(fork(run, Checkpoint.objects.get(run=run, step="_boss").seq, version="2", effects="execute"))
    assert (found.status, calls) == ("waiting", [])


def _boss(state: Any) -> Proposal:
    return Proposal(f"Pay {state.amount}", action=Pay(amount=state.amount))


def _pay(state: Any) -> None:
    calls.append(f"pay {state.amount}")


def test_the_approvals_of_an_imported_run_are_asked_again(make_gate, answer, carry, fork):
    gate = make_gate()
    answer(gate, "bob", "approve")
    run = carry(gate.run)
    text = text_of(run)
    at = Checkpoint.objects.get(run=run, step="boss").seq
    elsewhere(run)
    calls.clear()
    found = carry(fork(importing.imported(text), at, effects="execute"))
    assert (found.status, found.step, calls) == ("waiting", "boss", [])


def test_in_a_fork_of_a_fork_the_latest_decision_counts(make_gate, answer, carry, fork, people):
    gate = make_gate()
    answer(gate, "bob", "approve")
    run = carry(gate.run)
    one = fork(run, Checkpoint.objects.get(run=run, step="boss").seq, effects="execute")
    controls.cancel(one.pk, by=people.alice)
    calls.clear()
    two = fork(one, 0, changes={"amount": 380}, effects="execute")
    assert two.visit == one.visit
    two = carry(two)
    answer(Gate.objects.get(run=two, status="open"), "bob", "approve")
    assert (carry(two).status, calls) == ("succeeded", ["pay 380"])


def test_a_decision_is_read_after_a_persons_change_too(flow, make_run, carry, fork, answer):
    own = flow()
    own.gate(policy=FINANCE)(_boss)

    @own.step
    def read(state: Any, ctx: Any) -> None:
        calls.append(ctx.decision.comment if ctx.decision else "nothing")

    run = carry(make_run("t-own"))
    answer(Gate.objects.get(run=run), "bob", "approve", comment="hi")
    run = carry(run)
    one = fork(run, Checkpoint.objects.get(run=run, step="_boss").seq, changes={"n": 3})
    carry(one)
    carry(fork(one, 2))
    assert calls == ["hi", "hi", "hi"]


def test_what_a_validator_makes_of_a_change_is_what_is_compared_and_kept(flow, make_run, carry, answer):
    class Sum(State):
        a: int = 0
        b: int = 0
        amount: int = 0

        @model_validator(mode="before")
        @classmethod
        def add(cls, data: Any) -> Any:
            return {**data, "amount": data.get("a", 0) + data.get("b", 0)}

    own = flow(Sum)
    own.gate(policy=FINANCE)(_boss)

    @own.step
    def more(state: Any) -> Any:
        return {"b": 990} if state.b == 0 else None

    own.effect(approved_by="_boss")(_pay)
    run = carry(make_run("t-own", a=10))
    answer(Gate.objects.get(run=run), "bob", "approve")
    run = carry(run)
    assert (run.status, run.step, calls) == ("waiting", "_boss", [])  # 10 was approved, and 1000 would run
    assert store.load(run.pk, run.seq).values["amount"] == 1000


# -- recorded results


def test_what_may_have_happened_is_no_recorded_result(make_run, carry, fork, flow):
    own = flow(Counter)

    @own.effect
    def odd(state: Any) -> Any:
        calls.append("odd")
        return {"n": "not a number"}

    refused = carry(make_run("t-own"))
    script["act"] = lambda: (_ for _ in ()).throw(RuntimeError("cut"))
    doubtful = carry(make_run("t-effect"))
    assert (refused.status, doubtful.status) == ("failed", "waiting")
    for run, name in ((refused, "odd"), (doubtful, "act")):
        with pytest.raises(starting.InputInvalid, match=f"effects.{name}.*may have happened"):
            fork(run, 0)


def test_a_fork_that_has_not_taken_its_results_yet_cannot_give_them_on(make_run, carry, fork):
    one = fork(carry(make_run("t-twice", amount=400)), 1)
    with pytest.raises(starting.InputInvalid, match="not come to its own recorded result"):
        fork(one, one.seq)


def test_what_was_undone_is_not_taken(make_run, carry, fork):
    run = carry(make_run("t-twice", amount=400))
    key = reading.journal(run)[0]["seq"]
    from workflows.keys import visit_key

    row = Checkpoint.objects.get(run=run, step="charge")
    from runs.services import journal

    detail = {"effect_key": visit_key(run.pk, "charge", row.visit)}
    journal.record(run.pk, journal.Entry("compensated", "charge", detail=detail))
    with pytest.raises(starting.InputInvalid, match=r"effects\.charge.*undone since"):
        fork(run, key + 1)


def many(flow: Any, name: str = "pay", was: tuple[str, ...] = ()) -> None:
    own = flow()

    def work(state: Any) -> Any:
        calls.append(f"pay {state.n}")
        return Goto(name, n=state.n + 1) if state.n < 3 else End(n=state.n + 1)

    own.effect(name=name, was=list(was), needs=["n", "amount"], verify=lambda state: NotHappened(), settle=0)(work)


def test_a_release_executes_one_visit_and_no_more(flow, make_run, carry, fork, people):
    many(flow)
    run = carry(make_run("t-own"))
    calls.clear()
    found = fork(run, 0)
    controls.hold(found.pk, by=people.alice)
    controls.release(found.pk, by=people.alice, changes={"amount": 9})
    found = carry(found)
    assert (found.status, found.limit, calls) == ("held", "reuse", [])
    controls.release(found.pk, by=people.alice)
    found = carry(found)
    assert (found.status, calls) == ("held", ["pay 0"])


def test_a_renamed_effect_is_not_done_again(flow, make_run, carry, fork):
    many(flow)
    run = carry(make_run("t-own"))
    found = fork(run, 0)
    calls.clear()
    registry.forget("t-own")
    many(flow, name="paid", was=("pay",))
    assert (carry(found).status, calls) == ("succeeded", [])


def test_a_sum_counts_as_seen(make_run, carry, fork):
    run = carry(make_run("t-twice", amount=400))
    with pytest.raises(starting.InputInvalid, match=r"effects\.charge.*saw total"):
        fork(run, 1, changes={"total": 1000}, effects={"mail": "execute"})


def test_a_fork_that_begins_at_a_join_reads_the_branches(make_run, carry, fork):
    run = carry(make_run("t-fan", size=3, collect=True))
    at = Checkpoint.objects.get(run=run, next_step="join").seq
    assert reading.output(carry(fork(run, at)))["summary"] == reading.output(run)["summary"]


# -- what an undone boundary leaves behind


class Refused(psycopg.errors.DeadlockDetected):
    sqlstate = "40P01"


def refuse_once(monkeypatch: Any, target: Any, name: str) -> None:
    real, done = getattr(target, name), list[int]()

    def act(*args: Any, **options: Any) -> Any:
        value = real(*args, **options)
        if not done:
            done.append(1)
            raise Refused("a deadlock was detected")
        return value

    monkeypatch.setattr(target, name, act)


@pytest.mark.django_db(transaction=True)
def test_a_boundary_that_was_refused_is_packed_anew(flow, make_run, carry, monkeypatch):
    class Box(State):
        document: str = ""
        token: Annotated[str, Secret] = ""

    own = flow(Box)

    @own.step
    def fill(state: Any) -> Any:
        return Sleep(0, updates={"document": "long " * 4000, "token": "tok-9f8e7d6c5b4a"})

    @own.step
    def read(state: Any) -> None:
        calls.append(f"{len(state.document)} {state.token}")

    monkeypatch.setattr(insisting, "FIRST_PAUSE", 0.01)
    refuse_once(monkeypatch, pausing, "_sleep")
    run = carry(make_run("t-own"))
    assert (run.status, calls) == ("succeeded", ["20000 tok-9f8e7d6c5b4a"])
    sealing.forget(run.pk)  # another process
    assert current.at(run.pk, Box, run.seq).values["token"] == "tok-9f8e7d6c5b4a" and verifying.verify(run).is_sound
    assert DataKey.objects.filter(run=run).count() == 1


# -- proofs


def test_what_was_set_to_nothing_is_a_break_and_not_a_prune(make_run, worker, people):
    run = make_run("t-line")
    controls.set_breakpoint(run.pk, by=people.alice, step="three")
    worker(run)
    Checkpoint.objects.filter(run=run, step="two").update(delta=None)
    Event.objects.filter(run=run, kind="held").update(detail=None)
    assert [one.seq for one in verifying.verify(fresh(run)).breaks] == [3, 4]
    controls.release(run.pk, by=people.alice)
    calls.clear()
    worker(run)
    assert (fresh(run).status, calls) == ("held", [])


def test_a_prune_in_the_middle_of_a_proof_is_no_alarm(make_run, worker, monkeypatch):
    script["grow"] = lambda state: {"document": "x" * 9000}
    run = make_run("t-big", document="y" * 9000)
    worker(run)
    real, done = contents.fetch, list[int]()

    def fetch(*args: Any) -> Any:
        if not done:
            done.append(1)
            pruning.prune_run(fresh(run))
        return real(*args)

    monkeypatch.setattr(contents, "fetch", fetch)
    assert verifying.verify_and_note(fresh(run)).is_sound and fresh(run).broken_at is None


# -- expiry


def test_what_is_to_wait_longer_than_expires_may(flow, make_run, worker):
    own = flow(expires="2h")

    @own.step(retry=Retry(attempts=9))
    def limited(state: Any) -> None:
        raise Transient("too many", retry_after=5 * 3600)

    run = make_run("t-own")
    worker(run)
    Run.objects.filter(pk=run.pk).update(updated_at=Now() - timedelta(hours=3))
    assert not deadlines.end_expired(run.pk)
    Run.objects.filter(pk=run.pk).update(available_at=Now())  # due at last, and nobody came yet
    assert not deadlines.end_expired(run.pk)


# -- secrets


class Held(State):
    token: Annotated[str, Secret] = ""
    pin: Annotated[int, Secret] = 0
    said: str = ""


@pytest.mark.parametrize("act", [
    lambda state, ctx: ctx.log("sent " + json.dumps({"pw": state.token})),
    lambda state, ctx: {}[state.token],
    lambda state, ctx: (_ for _ in ()).throw(ExceptionGroup("all", [ValueError(state.token)])),
    lambda state, ctx: (_ for _ in ()).throw(ValueError(repr(state))),
    lambda state, ctx: (_ for _ in ()).throw(ValueError("x" * (64 * 1024 - 12) + state.token)),
    lambda state, ctx: ctx.save({"session": state.token}),
    lambda state, ctx: ctx.log(f"pin {state.pin}"),
    lambda state, ctx: (ctx.log("signed in with SECRET-LINE-new"), {"token": "SECRET-LINE-new"})[1],
])  # fmt: skip
def test_a_secret_is_masked_however_it_is_written(flow, make_run, worker, act):
    own = flow(Held)
    own.step(retry=Retry(attempts=1))(act)
    run = make_run("t-own", token='-----\nSECRET-LINE-one"\\\nSECRET-LINE-two\n', pin=123456789)
    worker(run)
    stored = everything_stored()
    assert "SECRET-LINE" not in stored and "123456789" not in stored


def test_a_migration_that_fails_does_not_tell_the_secret(make_run, worker, monkeypatch):
    run = make_run("t-secret", token="tok-9f8e7d6c5b4a")
    kind = registry.newest("t-secret").state
    monkeypatch.setattr(kind, "schema_version", 2)
    monkeypatch.setitem(kind.migrations, 1, lambda old: {"n": int(old["token"])})
    worker(run)
    assert fresh(run).status == "held" and "tok-9f8e" not in fresh(run).reason and masking.MASK in fresh(run).reason


def test_a_revealed_secret_is_not_kept_for_its_idempotency_key(make_run, worker, people, client):
    run = make_run("t-secret", token="tok-9f8e7d6c5b4a")
    worker(run)
    client.force_login(people.carol)
    path = f"/api/runs/{run.pk}/checkpoints/1/reveal"
    for _ in range(2):
        answer = client.post(path, '{"field": "token"}', content_type="application/json", headers={"Idempotency-Key": "k"})
        assert answer.json()["value"] == "tok-9f8e7d6c5b4a" and not StoredAnswer.objects.exists()
    assert Event.objects.filter(run=run, kind="note").count() == 2


def test_what_stands_beside_a_secret_is_none():
    class Card(BaseModel):
        number: Annotated[str, Secret]
        brand: str = "mastercard"

    class Wallet(State):
        card: Card | None = None
        cards: list[Card] = []
        n: Annotated[int, Add] = 0

    texts = masking.secret_texts(Wallet, {"card": {"number": "4111-1111-1111", "brand": "mastercard"},
                                          "cards": [{"number": "5222-2222-2222", "brand": "mastercard"}]})  # fmt: skip
    assert set(texts) == {"4111-1111-1111", "5222-2222-2222"}


# -- doors


def test_odd_addresses_and_bodies_are_no_errors_of_ours(make_run, worker, people, client):
    script["grow"] = lambda state: {"facts": {"x": "y"}, "messages": [{"a": "b"}]}
    run = make_run("t-big")
    worker(run)
    client.force_login(people.carol)
    assert client.get(f"/api/runs/{run.pk}/history", {"key": "/messages/²"}).status_code == 200
    form = {"seq": "0", "json": "[" * 100_000}
    assert client.post(f"/runs/{run.pk}/fork/", form).status_code == 422
    body = json.dumps({"workflow": "t-big", "input": {}, "idempotency_key": "fork:x"})
    assert client.post("/api/runs", body, content_type="application/json").status_code == 422


def test_a_deeply_nested_value_is_shown_level_by_level(flow, make_run, people, client):
    class Free(State):
        data: Any = None

    own = flow(Free)
    own.step(lambda state: None)
    deep: Any = 1
    for _ in range(150):
        deep = [deep]
    run = make_run("t-own", data=deep)
    client.force_login(people.alice)
    assert client.get(f"/runs/{run.pk}/checkpoints/0/").status_code == 200
    assert client.get(f"/runs/{run.pk}/checkpoints/0/values/?path=/data{'/0' * 100}").status_code == 200
