"""Adversarial review of issue 6: each test fails where a defect is."""

from contextlib import suppress
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.test import Client
from pydantic import BaseModel

from approvals import dry_run, rights
from approvals.edit_form import EditForm
from approvals.models import Gate
from approvals.refusals import GateClosed, NotYours, TooLate
from approvals.services import absences, clock, policies
from approvals.services import people as acts
from approvals.services.taking_back import take_back
from engine.services import controls, forking
from engine.sweeper import Sweeper
from runs.clock import database_now
from runs.models import Run
from tests import flows, gate_flows, part_flows
from tests.conftest import kinds
from tests.test_api import Api
from tests.test_votes import join
from workflows import Policy, Proposal
from workflows.actions import Action

pytestmark = pytest.mark.django_db
HOUR = timedelta(hours=1)
LATER = "6 seconds"
ALL = Policy(approvers=["group:finance", "user:carol"], quorum=2)


def undo(gate, decision, by):
    return take_back(gate.pk, decision.pk, by=by)


def drive(worker, run):
    while worker(run):
        pass
    return Run.objects.get(pk=run.pk)


# 1: taking back one's own vote undoes somebody else's rejection
def test_one_cannot_undo_anothers_rejection_by_taking_back_ones_own_vote(ask, answer, people, worker, at):
    gate = ask(ALL)
    mine = answer(gate, "bob", "approve")
    answer(gate, "erin", "reject", channel="page", comment="never")
    try:
        undo(gate, mine, people.bob)
    except (TooLate, NotYours):
        return
    answer(gate, "bob", "approve")
    answer(gate, "carol", "approve")
    gate.refresh_from_db()
    assert gate.outcome_verdict != "approve", "approved, while erin's rejection stands"


def test_one_cannot_undo_anothers_rejection_by_taking_back_ones_edit(ask, answer, people):
    gate = ask(ALL)
    mine = answer(gate, "bob", "edit", args={"amount": 3})
    no = answer(gate, "erin", "reject", channel="page", comment="never")
    try:
        undo(gate, mine, people.bob)
    except (TooLate, NotYours):
        return
    no.refresh_from_db()
    assert no.voided_at is None, "bob has voided erin's rejection"


def test_a_settled_gate_is_not_left_open_with_its_quorum_met(ask, answer, people):
    gate = ask(Policy(approvers=["group:finance", "user:carol"], quorum=2, veto=2))
    no = answer(gate, "bob", "reject")
    answer(gate, "erin", "approve")
    answer(gate, "carol", "approve", channel="page")
    try:
        undo(gate, no, people.bob)
    except (TooLate, NotYours):
        return
    gate.refresh_from_db()
    assert not gate.is_open, "two of two have approved, and it is open; both have voted already"


def test_the_policys_timeout_cannot_be_taken_back_by_a_voter(make_gate, answer, people, worker, at, monkeypatch):
    policies.change("t-fresh", "offer", {"approvers": ["group:finance", "user:carol"], "quorum": 2, "timeout": 3600,
                                         "on_timeout": "approve"}, by=people.carol, reason="x")
    gate = make_gate("t-fresh", amount=400)
    mine = answer(gate, "bob", "approve")
    at("61 minutes")
    assert clock.expire(gate.pk)
    with pytest.raises(TooLate):
        undo(gate, mine, people.bob)


# 2: revalidate is skipped while a run is held
def test_an_approval_given_while_the_run_is_held_is_revalidated(make_gate, answer, people, worker):
    gate = make_gate("t-fresh", amount=400)
    controls.hold(gate.run_id, by=people.alice)
    answer(gate, "bob", "approve")
    flows.script["price"] = 480
    controls.release(gate.run_id, by=people.alice)
    drive(worker, gate.run)
    assert flows.calls == ["look again at 400"], flows.calls


# 3: a branch's gate is reopened in a run that has ended


# 4: an old gate of the same visit is reopened
def test_an_older_outcome_that_was_carried_out_is_not_taken_back_for_the_newer_one(make_run, answer, people, worker, at):
    join(people.erin, "operator")
    flows.script["act"] = lambda: (_ for _ in ()).throw(RuntimeError("reply lost"))
    run = make_run("t-effect")
    while worker(run) or Run.objects.get(pk=run.pk).status == "queued":
        pass
    first = run.gates.get()
    old = answer(first, "alice", "not_happened")
    flows.script["act"] = lambda: (_ for _ in ()).throw(RuntimeError("reply lost again"))
    while worker(run) or Run.objects.get(pk=run.pk).status == "queued":
        pass
    second = run.gates.get(status="open")
    assert second.pk != first.pk
    answer(second, "erin", "happened", channel="page", args={"answer": "seen"})
    with pytest.raises(TooLate):
        undo(first, old, people.alice)


def test_a_gate_that_a_retry_asked_anew_does_not_come_back(ask, answer, people, worker, at):
    policy = Policy(approvers=["group:finance"])
    first = ask(policy, Policy(approvers=["group:finance"], timeout="1h", on_timeout="fail"))
    old = answer(first, "bob", "approve")
    at("61 minutes")
    assert clock.expire(first.run.gates.get(ordinal=1).pk)
    run = Run.objects.get(pk=first.run_id)
    assert run.status == "failed"
    controls.retry(run.pk, by=people.alice)
    worker(run)
    assert Gate.objects.open().filter(run=run).count() == 2
    with pytest.raises(TooLate):
        undo(first, old, people.bob)


def test_a_zombie_gate_does_not_move_the_run(ask, answer, people, worker, at):
    policy = Policy(approvers=["group:finance"])
    first = ask(policy, Policy(approvers=["group:finance"], timeout="1h", on_timeout="fail"))
    old = answer(first, "bob", "approve")
    at("61 minutes")
    assert clock.expire(first.run.gates.get(ordinal=1).pk)
    controls.retry(first.run_id, by=people.alice)
    worker(first.run)
    new = list(Gate.objects.open().filter(run=first.run).order_by("ordinal"))
    answer(new[0], "erin", "approve")
    with pytest.raises(TooLate):
        undo(first, old, people.bob)


# 5: forks
def test_a_fork_does_not_take_what_can_still_be_taken_back(make_gate, answer, people, worker, at):
    gate = make_gate()
    decision = answer(gate, "bob", "approve", channel="page")
    forked = forking.fork(gate.run_id, seq=1, by=people.carol, effects="execute")
    drive(worker, forked)
    undo(gate, decision, people.bob)
    assert "pay 400" not in flows.calls, "the fork has paid on an approval that was taken back"


def test_a_fork_does_not_take_an_approval_given_in_the_place_of_who_starts_it(make_gate, answer, people, worker):
    join(people.carol, "finance")
    gate = make_gate()
    acts.delegate(gate.pk, by=people.carol, to="mallory")
    answer(gate, "mallory", "approve")
    drive(worker, gate.run)
    flows.calls.clear()
    forked = forking.fork(gate.run_id, seq=1, by=people.carol, effects="execute")
    assert drive(worker, forked).status == "waiting", flows.calls


def test_a_fork_after_the_gate_does_not_take_an_approval_given_in_the_place_of_who_starts_it(make_gate, answer, people, worker):
    join(people.carol, "finance")
    gate = make_gate()
    acts.delegate(gate.pk, by=people.carol, to="mallory")
    answer(gate, "mallory", "approve")
    run = drive(worker, gate.run)
    seq = next(n for n, kind in enumerate(kinds(run)) if kind == "checkpoint boss")
    flows.calls.clear()
    forked = forking.fork(gate.run_id, seq=seq, by=people.carol, effects="execute")
    assert drive(worker, forked).status == "waiting", flows.calls


def test_a_fork_behind_the_gate_looks_again_before_it_buys(make_gate, answer, people, worker):
    gate = make_gate("t-fresh", amount=400)
    answer(gate, "bob", "approve")
    run = drive(worker, gate.run)
    seq = next(n for n, kind in enumerate(kinds(run)) if kind == "checkpoint offer")
    flows.calls.clear()
    flows.script["price"] = 480
    forked = forking.fork(run.pk, seq=seq, by=people.carol, effects="execute")
    drive(worker, forked)
    assert flows.calls != ["buy 400"]


# 6: deputies
def test_who_may_not_decide_their_own_run_cannot_have_their_deputy_use_anothers_right(ask, people):
    gate = ask(Policy(approvers=["user:bob"], allow_self=False))
    now = database_now()
    for user, deputy in (("bob", "alice"), ("alice", "mallory")):
        absences.announce(by=people[user], deputy=deputy, starts=now - HOUR, ends=now + HOUR)
    assert rights.standing(gate, people.alice).right is None
    assert rights.standing(gate, people.mallory).right is None


# 7: distinct_from through undo of an edit
def test_two_levels_are_two_people_also_after_an_edit_was_taken_back(ask, answer, people):
    first = ask(ALL, Policy(approvers=["group:finance"], distinct_from=["ask-1"]))
    second = first.run.gates.get(ordinal=1)
    answer(first, "bob", "approve")
    edit = answer(first, "erin", "edit", args={"amount": 7})
    answer(second, "bob", "approve")
    undo(first, edit, people.erin)
    both = set(first.decisions.standing().values_list("by_name", flat=True)) & set(
        second.decisions.standing().values_list("by_name", flat=True))
    assert not both, both


# 8: policy changes that make runs fail
@pytest.mark.parametrize("given", [
    {"approvers": None, "quorum": {"group:legal": 1}},
    {"approvers": None, "quorum": 2},
])
def test_an_admins_policy_never_fails_the_run(make_run, worker, people, given):
    try:
        policies.change("t-chosen", "whoever", given, by=people.carol, reason="x")
    except policies.PolicyInvalid:
        return
    run = make_run("t-chosen", amount=50)
    worker(run)
    assert Run.objects.get(pk=run.pk).status == "waiting", Run.objects.get(pk=run.pk).error


@pytest.mark.parametrize("given", [
    {"timeout": "9999d", "hours": {"zone": "UTC", "days": ["mon"], "start": "09:00", "end": "09:01"}},
    {"timeout": "99999999999d"},
    {"timeout": "999999d", "on_timeout": "keep"},
    {"timeout": "9999999d", "on_timeout": "keep"},
])
def test_an_admins_clock_never_fails_the_run(make_run, worker, people, given):
    try:
        policies.change("t-chosen", "whoever", given, by=people.carol, reason="x")
    except policies.PolicyInvalid:
        return
    run = make_run("t-chosen", amount=50)
    worker(run)
    assert Run.objects.get(pk=run.pk).status == "waiting", Run.objects.get(pk=run.pk).error


# 9: nobody may answer
def test_a_gate_whose_only_approver_has_approved_the_level_before_goes_to_admins(make_run, worker, answer, people):
    policies.change("t-levels", "director", {"approvers": ["user:bob"], "distinct_from": ["manager"]}, by=people.carol, reason="x")
    run = make_run("t-levels", amount=5)
    worker(run)
    answer(run.gates.get(), "bob", "approve")
    worker(run)
    second = run.gates.get(status="open")
    assert any(rights.standing(second, user).right for user in people.values()), "nobody may ever answer"


# 10: the dry run
def tried(gate):
    return dry_run.of(gate.run.workflow, gate.key, gate.policy)


def test_the_same_policy_would_have_done_the_same_with_a_delegate(ask, answer, people):
    gate = ask(Policy(approvers=["group:finance"]))
    acts.delegate(gate.pk, by=people.bob, to="mallory")
    answer(gate, "mallory", "approve")
    (found,) = tried(gate).gates
    assert (found.is_same, list(found.turned_away)) == (True, [])


def test_the_same_policy_would_have_done_the_same_with_a_vote_taken_back(ask, answer, people):
    gate = ask(Policy(approvers=["group:finance"]))
    undo(gate, answer(gate, "bob", "reject", channel="page"), people.bob)
    answer(gate, "erin", "approve")
    (found,) = tried(gate).gates
    assert found.is_same, found.would


# 11: forms
def posted(form_schema, args, **changes):
    """What a browser would send of the form, with some fields changed."""
    shown = EditForm(form_schema, args)
    data = {}
    for field in shown:
        value = field.value()
        widget = field.field.widget
        text = widget.format_value(value)
        if type(widget).__name__ == "CheckboxInput":
            if value:
                data[field.html_name] = "on"
            continue
        if isinstance(text, list):
            text = text[0] if text else ""
        data[field.html_name] = "" if text is None else str(text)
    for name, value in changes.items():
        data[f"field-{name}"] = value
    form = EditForm(form_schema, args, data)
    assert form.is_valid(), form.errors
    return form.arguments()


def test_a_moment_that_was_left_alone_is_as_it_was():
    schema = {"type": "object", "properties": {"at": {"type": "string", "format": "date-time"}, "n": {"type": "integer"}}}
    args = {"at": "2026-03-01T10:00:00.123456Z", "n": 1}
    assert posted(schema, args, n="2") == {**args, "n": 2}


def test_moments_in_a_list_stay_the_moments_that_they_were():
    schema = {"type": "object", "properties": {"at": {"type": "array", "items": {"type": "string", "format": "date-time"}}}}
    args = {"at": ["2026-03-01T10:00:00+02:00"]}
    found = posted(schema, args, at="2026-03-01T10:00:00+02:00\r\n2026-03-02T10:00:00+02:00")
    from datetime import datetime
    assert datetime.fromisoformat(found["at"][0]) == datetime.fromisoformat(args["at"][0]), found


def test_a_list_of_yes_and_no_takes_no_for_no():
    schema = {"type": "object", "properties": {"flags": {"type": "array", "items": {"type": "boolean"}}}}
    try:
        assert posted(schema, {"flags": [True]}, flags="true\r\nno") == {"flags": [True, False]}
    except AssertionError as error:
        assert "line 2" in str(error), error


def test_values_of_several_types_that_are_spelled_alike_keep_their_types():
    schema = {"type": "object", "properties": {"v": {"enum": [1, "1", 2]}}}
    assert posted(schema, {"v": 2}, v="1") in ({"v": 1},)


def test_an_argument_that_was_empty_and_is_edited_is_shown_as_edited(make_gate, answer):
    gate = Gate(action={"name": "Pay", "args": {"to": "eve"}, "proposed": {"to": None}, "order": ["to"]})
    (argument,) = gate.arguments()
    assert argument.changed, "the page shows no difference"


# ---- doors, odd values
"""Adversarial review of issue 6, doors and odd values."""

from datetime import timedelta
from typing import Annotated

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from pydantic import ConfigDict, Field

from approvals import showing
from approvals.services import checking
from workflows import Ask, Policy, Secret, State, Workflow

HOUR = timedelta(hours=1)


class Odd(State):
    items: list[str] = []
    token: Annotated[str, Secret] = ""
    log: list[str] = []
    n: int = 0


odd = Workflow("t-odd", state=Odd, version="1")
FINANCE = Policy(approvers=["group:finance"])


@odd.step(then=["choose", "settled_"])
def choose(state):
    return [Ask(Proposal("Choose", action=flows.script.get("action")), policy=flows.script.get("policy", FINANCE),
                verdicts=["approve", "edit", "reject"], on_reject="next")]


@odd.step
def settled_(state):
    flows.calls.append("settled_")


doubted = Workflow("t-odd-effect", state=Odd, version="1")


@doubted.effect(settle=0)
def unclear(state):
    raise RuntimeError("reply lost")


leaky = Workflow("t-leaky", state=Odd, version="1")


@leaky.gate(policy=FINANCE)
def first_(state):
    return Proposal("One", context=["log"])


@leaky.step
def between(state):
    return {"log": ["nothing"]}


@leaky.gate(policy=FINANCE)
def second_(state):
    return Proposal("Two", context=["log"])


@pytest.fixture
def page(people):
    def sign_in(name):
        client = Client(raise_request_exception=False)
        client.force_login(people[name])
        return client
    return sign_in


@pytest.fixture
def choose_(make_run, worker):
    def make(action, **given):
        flows.script["action"] = action
        run = make_run("t-odd", **given)
        worker(run)
        run.refresh_from_db()
        assert run.status == "waiting", run.error
        return run.gates.get()
    return make


def seen(gate):
    return {"version": gate.version, "proposal_hash": gate.proposal_hash}


class Order(BaseModel):
    items: list[str]
    n: int = 0


def test_a_branchs_decision_is_not_taken_back_in_a_run_that_was_cancelled(make_run, answer, people, worker):
    flows.script["part"] = part_flows.ask_in_branch
    run = make_run("t-fan", size=3)
    worker(run)
    gate = run.gates.get()
    decision = answer(gate, "bob", "approve", channel="page")
    controls.cancel(run.pk, by=people.alice)
    Sweeper().settle()
    assert Run.objects.get(pk=run.pk).status == "cancelled"
    try:
        take_back(gate.pk, decision.pk, by=people.bob)
    except TooLate:
        pass
    assert not Gate.objects.open().filter(run=run).exists(), "an open gate in a cancelled run"


def test_an_argument_named_items_can_be_previewed(choose_, page):
    gate = choose_(Order(items=["a"]))
    answer = page("bob").post(f"/gates/{gate.pk}/edits/", {"field-items": "a\r\nb", "field-n": "0", **seen(gate)})
    assert answer.status_code == 200


def test_an_argument_named_items_that_is_wrong_is_refused(choose_, page):
    class Lines(BaseModel):
        items: list[int]
    gate = choose_(Lines(items=[1]))
    answer = page("bob").post(f"/gates/{gate.pk}/edits/", {"field-items": "x", **seen(gate)})
    assert answer.status_code in (200, 422)


def test_a_state_field_named_items_at_an_outcome_gate(make_run, worker, page):
    run = make_run("t-odd-effect", items=["a", "bcd"])
    while worker(run) or Run.objects.get(pk=run.pk).status == "queued":
        pass
    gate = run.gates.get()
    assert page("alice").get(f"/gates/{gate.pk}/").status_code == 200


@pytest.mark.parametrize("path,body", [
    ("delegation/", {"to": "a\0b"}), ("comments/", {"text": "a\0b"}), ("decisions/", {"verdict": "a\0b"}),
    ("decisions/", {"verdict": "approve", "comment": "a\0b"}), ("decisions/", {"verdict": "reject", "comment": "x" * 20000}),
    ("snooze/", {"minutes": "9" * 18}), ("snooze/", {"minutes": "-5"}), ("bypass/", {"verdict": "\0", "comment": "x"}),
    ("claim/", {"take_over": "\0"}), ("edits/", {}), ("presence/", {}), ("decisions/0/undo/", {}),
    ("decisions/99999999999999999999999/undo/", {}),
])
def test_odd_input_on_a_page(make_gate, page, path, body):
    gate = make_gate()
    assert page("bob").post(f"/gates/{gate.pk}/{path}", {**body, **seen(gate)}).status_code < 500
    if "bypass" in path:
        assert page("carol").post(f"/gates/{gate.pk}/{path}", {**body, **seen(gate)}).status_code < 500


@pytest.mark.parametrize("query", ["?tab=x", "?after=999999999999999999", "?after=-1", "?q=%00", "?q=%25_", "?done=999999999999999999",
                                   "?tab=history&after=5", "?tab=escalated&q=x", "?q=" + "x" * 5000])
def test_odd_queries(make_gate, page, query):
    make_gate()
    for name in ("bob", "mallory", "carol"):
        assert page(name).get("/gates/" + query).status_code == 200


@pytest.mark.parametrize("body", [
    {"deputy": "a\0b", "starts": "2030-01-01T00:00", "ends": "2030-01-02T00:00"},
    {"deputy": "erin", "starts": "2030-99-01T00:00", "ends": "2030-01-02T00:00"},
    {"deputy": "erin", "starts": "x", "ends": "y"},
    {"deputy": "erin", "user": "a\0b", "starts": "2030-01-01T00:00", "ends": "2030-01-02T00:00"},
])
def test_odd_absences(page, body):
    for name in ("bob", "carol"):
        assert page(name).post("/gates/absences/", body).status_code < 500


def test_an_absence_at_the_end_of_time_breaks_no_page(people, page):
    answer = Api(people.mallory).post("/api/absences", {"deputy": "bob", "starts": "2026-01-01T00:00:00Z",
                                                        "ends": "9999-12-31T23:59:59-14:00"})
    assert answer.status_code < 500
    assert page("carol").get("/gates/absences/").status_code == 200
    assert page("erin").get("/gates/absences/").status_code == 200


def test_a_snooze_at_the_end_of_time_breaks_no_page(ask, people, page):
    gate = ask(FINANCE)
    answer = Api(people.bob).post(f"/api/gates/{gate.pk}/snooze", {"until": "9999-12-31T23:59:59-14:00"})
    assert answer.status_code < 500, answer.content
    assert page("bob").get(f"/gates/{gate.pk}/").status_code == 200


class Bag(BaseModel):
    bag: dict[str, float] = {}
    name: str = ""
    n: int = 1


@pytest.mark.parametrize("field", ['{"a": NaN}', '{"a": 1e999}', "[" * 100_000, '{"a": 1, "\\u0000": 2}'])
def test_odd_json_in_a_form(choose_, page, field):
    gate = choose_(Bag())
    answer = page("bob").post(f"/gates/{gate.pk}/decisions/", {"verdict": "edit", "field-bag": field, "field-name": "", "field-n": "1", **seen(gate)})
    assert answer.status_code < 500


@pytest.mark.parametrize("name", ["a\0b", "x" * 100000])
def test_odd_text_in_a_form(choose_, page, name):
    gate = choose_(Bag())
    answer = page("bob").post(f"/gates/{gate.pk}/decisions/", {"verdict": "edit", "field-bag": "{}", "field-name": name, "field-n": "9" * 5000, **seen(gate)})
    assert answer.status_code < 500
    answer = page("bob").post(f"/gates/{gate.pk}/decisions/", {"verdict": "edit", "field-bag": "{}", "field-name": name, "field-n": "9" * 50, **seen(gate)})
    assert answer.status_code < 500


SCHEMAS = {
    "boolean subschema": {"type": "object", "properties": {"a": True}},
    "anyOf boolean": {"type": "object", "properties": {"a": {"anyOf": [True, {"type": "null"}]}}},
    "items list": {"type": "object", "properties": {"a": {"type": "array", "items": [{"type": "string"}]}}},
    "type list": {"type": "object", "properties": {"a": {"type": ["string", "null"]}}},
    "properties null": {"type": "object", "properties": None},
    "required null": {"type": "object", "properties": {"a": {"type": "string"}}, "required": None},
    "definitions": {"type": "object", "properties": {"a": {"$ref": "#/definitions/A"}}, "definitions": {"A": {"type": "string"}}},
    "missing ref": {"type": "object", "properties": {"a": {"$ref": "#/$defs/A"}}},
    "self ref": {"type": "object", "properties": {"a": {"$ref": "#"}}},
    "ref loop": {"type": "object", "properties": {"a": {"$ref": "#/$defs/A"}}, "$defs": {"A": {"$ref": "#/$defs/A"}}},
    "bad type": {"type": "object", "properties": {"a": {"type": "objekt"}}},
    "rust pattern": {"type": "object", "properties": {"a": {"type": "string", "pattern": r"^\p{L}+$"}}},
    "enum of objects": {"type": "object", "properties": {"a": {"enum": [{"x": 1}, [2], None, True, 1, "1"]}}},
    "enum no list": {"type": "object", "properties": {"a": {"enum": "abc"}}},
    "description list": {"type": "object", "properties": {"a": {"type": "string", "description": ["x"], "maxLength": "5"}}},
    "min text": {"type": "object", "properties": {"a": {"type": "integer", "minimum": "0"}}},
    "exclusive bool": {"type": "object", "properties": {"a": {"type": "integer", "minimum": 0, "exclusiveMinimum": True}}},
    "allOf": {"allOf": [{"type": "object", "properties": {"a": {"type": "string"}}}]},
    "nested digit": {"type": "object", "properties": {"²": {"type": "object", "properties": {"b": {"type": "string"}}}}, "required": ["²"]},
    "dots": {"type": "object", "properties": {"a.b": {"type": "string"}, "a": {"type": "string"}, "x:remove": {"type": "string"}, "": {"type": "string"}}},
    "empty": {},
    "true": {"type": "object", "additionalProperties": {"type": "string"}},
}


@pytest.mark.parametrize("name", SCHEMAS)
@pytest.mark.parametrize("value", ["text", None, 3, {"b": "x"}, ["a", 1], [{"b": 1}]])
def test_odd_schemas(choose_, page, people, name, value):
    gate = choose_(Action("act", {"a": value}, SCHEMAS[name]))
    assert page("bob").get(f"/gates/{gate.pk}/").status_code == 200
    assert page("bob").post(f"/gates/{gate.pk}/edits/", {"field-a": "y", **seen(gate)}).status_code < 500
    client = Client(raise_request_exception=False, headers=Api(people.bob).client.headers if False else {})
    from holdfast.models import ApiToken
    client = Client(raise_request_exception=False, headers={"authorization": f"Bearer {ApiToken.issue(people.bob)}"})
    got = client.post(f"/api/gates/{gate.pk}/decisions", json.dumps({"verdict": "edit", "args": {"a": "other"}, **seen(gate)}), content_type="application/json")
    assert got.status_code < 500, "api"


def test_an_actions_schema_fetches_nothing(monkeypatch):
    import urllib.request
    asked = []
    monkeypatch.setattr(urllib.request, "urlopen", lambda *a, **k: asked.append(a) or (_ for _ in ()).throw(OSError()))
    try:
        checking.check_args({"type": "object", "properties": {"a": {"$ref": "http://169.254.169.254/latest"}}}, {"a": 1})
    except Exception as error:
        print(repr(error)[:200])
    assert not asked, asked


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")
    amount: int


def test_an_action_with_extra_arguments_can_be_edited(choose_, answer):
    gate = choose_(Open(amount=1, note="x"))
    answer(gate, "bob", "edit", args={"amount": 2, "note": "x"})


class Aliased(BaseModel):
    model_config = ConfigDict(populate_by_name=True)
    amount: int = Field(alias="theAmount")


def test_an_action_with_aliases_can_be_edited(choose_, answer):
    gate = choose_(Aliased(amount=1))
    print(gate.action)
    answer(gate, "bob", "edit", args={**gate.action["args"], next(iter(gate.action["args"])): 2})


class Rate(BaseModel):
    rate: float


@pytest.mark.parametrize("rate", [-0.0, 1e16, 0.1, 1e-7, 1.0])
def test_revalidating_the_same_proposal_does_not_ask_for_ever(make_gate, answer, worker, monkeypatch, rate):
    monkeypatch.setattr(gate_flows, "_offer", lambda amount: Proposal("Buy", action=Rate(rate=rate)))
    gate = make_gate("t-fresh", amount=400)
    flows.script["price"] = 400
    answer(gate, "bob", "approve")
    while worker(gate.run):
        pass
    assert Run.objects.get(pk=gate.run_id).status != "waiting"


def test_a_secret_that_another_field_repeats_is_not_shown_as_what_was_before(make_run, worker, answer, page):
    secret = "tok-9f8e7d6c5b4a"
    run = make_run("t-leaky", token=secret, log=[f"called with {secret}"])
    worker(run)
    gate = run.gates.get()
    assert secret not in str(gate.context)
    assert secret not in page("bob").get(f"/gates/{gate.pk}/").content.decode()
    answer(gate, "bob", "approve")
    worker(run)
    gate = run.gates.get(status="open")
    assert secret not in page("bob").get(f"/gates/{gate.pk}/").content.decode(), "shown to bob"


def test_precedents_show_only_what_one_may_see(ask, answer, people, page):
    first = ask(Policy(approvers=["group:finance"]))
    answer(first, "bob", "edit", args={"amount": 987654})
    second = ask(Policy(approvers=["user:mallory"]))
    assert not Gate.objects.visible_to(people.mallory).filter(pk=first.pk).exists()
    text = page("mallory").get(f"/gates/{second.pk}/").content.decode()
    assert "987654" not in text and str(first.pk) not in text


def test_the_history_of_a_gate_holds_only_its_own_entries(ask, people):
    gate = ask(FINANCE, Policy(approvers=["user:mallory"]))
    other = gate.run.gates.get(ordinal=1)
    acts.comment(other.pk, by=people.mallory, text=f"see {gate.pk}")
    controls.add_note(gate.run_id, by=people.alice, text=f"bob approved {gate.pk}")
    assert [one.get("by", "") for one in showing.history(gate)] == [""], showing.history(gate)


def test_one_right_is_one_level(make_run, worker, answer, people):
    run = make_run("t-levels", amount=5)
    worker(run)
    first = run.gates.get()
    acts.delegate(first.pk, by=people.bob, to="mallory")
    answer(first, "mallory", "approve")
    worker(run)
    second = run.gates.get(status="open")
    with pytest.raises(NotYours):
        answer(second, "bob", "approve")


@pytest.mark.parametrize("form", [
    {"timeout": "9999d", "zone": "UTC", "days": ["mon"], "start": "09:00", "end": "09:01"},
    {"timeout": "99999999999d"}, {"quorum_by_group": "group:finance " + "9" * 5000}, {"quorum": "1001"},
    {"zone": "../../etc/passwd"}, {"zone": "UTC", "holidays": "HolidayBase", "days": ["mon"]},
    {"zone": "UTC", "holidays": "registry", "days": ["mon"]}, {"zone": "UTC", "days": []}, {"remind": "1x"},
    {"zone": "UTC", "days": ["mon"], "holidays": "DE-ZZ"}, {"zone": "UTC", "days": ["mon"], "holidays": "x" * 1000},
    {"escalations": "4h"}, {"escalations": "x" * 100000}, {"escalations": "\n".join(["1h group:a"] * 2000)}, {"zone": "Europe"},
    {"distinct_from": "x" * 5000}, {"approvers": "user:" + "x" * 500}, {"distinct_from": "x" * 300, "timeout": "1h"},
    {"escalations": "1h user:" + "x" * 500, "timeout": "1h"},
])
@pytest.mark.parametrize("move", ["try", ""])
def test_odd_policies(make_gate, page, answer, form, move, make_run, worker):
    answer(make_gate(), "bob", "approve")
    body = {"quorum": "1", "veto": "1", "risk": "normal", "on_timeout": "reject", "start": "09:00", "end": "17:00", "reason": "x",
            "move": move, **form}
    got = page("carol").post("/policies/t-gated/boss/", body)
    assert got.status_code < 500 and got.status_code != 404
    if move == "" and got.status_code == 302:
        run = make_run("t-gated", amount=400)
        worker(run)
        run.refresh_from_db()
        assert run.status == "waiting", run.error


def test_queries_do_not_grow(ask, people, page, answer):
    def fill(count):
        for _ in range(count):
            gate = ask(Policy(approvers=["group:finance", "user:carol"], quorum=3))
            acts.claim(gate.pk, by=people.bob)
            acts.delegate(gate.pk, by=people.carol, to="mallory")
            answer(gate, "erin", "approve")
            people_ = people
            answer(gate, "mallory", "approve")

    def counted(act):
        with CaptureQueriesContext(connection, ) as queries:
            act()
        return len(queries)
    bob = page("bob")
    acts_ = {
        "open": lambda: bob.get("/gates/?tab=open"), "mine": lambda: bob.get("/gates/"),
        "history": lambda: bob.get("/gates/?tab=history"), "groups": lambda: bob.get("/gates/?tab=groups"),
        "api": lambda: Api(people.bob).get("/api/gates"),
        "api mine": lambda: Api(people.bob).get("/api/gates", mine="true"),
        "batch": lambda: bob.get("/gates/batch/", {"gate": list(Gate.objects.values_list("pk", flat=True))}),
    }
    fill(2)
    before = {name: counted(act) for name, act in acts_.items()}
    fill(8)
    after = {name: counted(act) for name, act in acts_.items()}
    assert before == after


# ---- more of undo
import json
import time
from datetime import timedelta

import pytest

from approvals.models import Absence
from approvals.services.deciding import bypass
from runs.models import new_id
from workflows import Policy


def test_ten_thousand_timings(ask, people):
    gate = ask(Policy(approvers=["group:finance", "user:carol"], timeout="24h"))
    row = Gate.objects.get(pk=gate.pk)
    run = Run.objects.get(pk=gate.run_id)
    runs, gates = [], []
    for n in range(10_000):
        r = Run.objects.get(pk=run.pk) if n == 0 else r0.__class__(**{f.attname: getattr(r0, f.attname) for f in Run._meta.concrete_fields})
        r0 = r
        r.pk = new_id(); r.idempotency_key = None if hasattr(r, "idempotency_key") else None
        runs.append(r)
        g = Gate(**{f.attname: getattr(row, f.attname) for f in Gate._meta.concrete_fields})
        g.pk = new_id(); g.run_id = r.pk; g.due_at = row.due_at + timedelta(seconds=n)
        gates.append(g)
    Run.objects.bulk_create(runs, batch_size=1000)
    Gate.objects.bulk_create(gates, batch_size=1000)
    with connection.cursor() as c:
        c.execute("ANALYZE")
    now = database_now()
    absences.announce(by=people.bob, deputy="mallory", starts=now - timedelta(hours=1), ends=now + timedelta(hours=1))
    for name in ("bob", "carol", "alice", "mallory", "dave"):
        client = Client(); client.force_login(people[name])
        client.get("/gates/")
        for tab in ("mine", "groups", "open", "history", "escalated", "snoozed"):
            t = time.perf_counter(); client.get(f"/gates/?tab={tab}"); print(name, tab, f"{(time.perf_counter()-t)*1000:.0f} ms")
        t = time.perf_counter(); client.get("/gates/?tab=open&q=zzz"); print(name, "search", f"{(time.perf_counter()-t)*1000:.0f} ms")
        t = time.perf_counter(); Api(people[name]).get("/api/gates", mine="true"); print(name, "api mine", f"{(time.perf_counter()-t)*1000:.0f} ms")
        t = time.perf_counter(); client.get(f"/gates/{gate.pk}/"); print(name, "one", f"{(time.perf_counter()-t)*1000:.0f} ms")
    t = time.perf_counter(); print("policies"); c2 = Client(); c2.force_login(people.carol); c2.get("/policies/"); print(f"{(time.perf_counter()-t)*1000:.0f} ms")


def test_control_fork_after_gate_by_self(make_gate, answer, people, worker):
    join(people.carol, "finance")
    gate = make_gate()
    answer(gate, "carol", "approve")
    while worker(gate.run): pass
    run = Run.objects.get(pk=gate.run_id)
    seq = next(n for n, kind in enumerate(kinds(run)) if kind == "checkpoint boss")
    forked = forking.fork(run.pk, seq=seq, by=people.carol, effects="execute")
    while worker(forked): pass
    assert Run.objects.get(pk=forked.pk).status == "waiting"


def test_no_gate_is_open_once_the_run_has_ended(ask, answer, people, worker, at):
    """What the reopened old gate can do."""
    from approvals.services import clock
    policy = Policy(approvers=["group:finance"])
    first = ask(policy, Policy(approvers=["group:finance"], timeout="1h", on_timeout="fail"))
    old = answer(first, "bob", "approve")
    at("61 minutes")
    clock.expire(first.run.gates.get(ordinal=1).pk)
    at("")
    controls.retry(first.run_id, by=people.alice)
    worker(first.run)
    new = list(Gate.objects.open().filter(run=first.run).order_by("ordinal"))
    answer(new[0], "erin", "approve")
    with suppress(TooLate):
        take_back(first.pk, old.pk, by=people.bob)
    answer(new[1], "erin", "approve")
    while worker(first.run): pass
    run = Run.objects.get(pk=first.run_id)
    print(run.status, list(run.gates.values_list("key", "status", "opened_at")), flows.calls)
    assert not Gate.objects.open().filter(run=run).exists()


def test_a_gate_of_a_cancelled_run_starts_no_roll_back(make_run, answer, people, worker):
    from engine.sweeper import Sweeper
    flows.script["part"] = part_flows.ask_in_branch
    run = make_run("t-fan", size=3)
    worker(run)
    gate = run.gates.get()
    decision = answer(gate, "bob", "approve", channel="page")
    controls.cancel(run.pk, by=people.alice)
    Sweeper().settle()
    Gate.objects.filter(pk=gate.pk).update(on_reject="roll_back")
    with suppress(TooLate, GateClosed):
        take_back(gate.pk, decision.pk, by=people.bob)
        answer(gate, "bob", "reject")
    print(Run.objects.get(pk=run.pk).status)
    assert Run.objects.get(pk=run.pk).status == "cancelled"


def test_bypass_of_the_second_level_by_who_approved_the_first(make_run, worker, answer, people):
    from approvals.refusals import NotYours
    join(people.carol, "finance")
    run = make_run("t-levels", amount=5)
    worker(run)
    answer(run.gates.get(), "carol", "approve")
    worker(run)
    second = run.gates.get(status="open")
    with pytest.raises(NotYours):
        bypass(second.pk, by=people.carol, verdict="approve", reason="quick", channel="api")


def test_a_bypass_taken_back_gives_the_vote_before_back(ask, answer, people):
    gate = ask(Policy(approvers=["group:finance", "user:carol"], quorum=3))
    mine = answer(gate, "bob", "approve")
    carols = answer(gate, "carol", "approve")
    d = bypass(gate.pk, by=people.carol, verdict="approve", reason="quick", channel="page")
    take_back(gate.pk, d.pk, by=people.carol)
    gate.refresh_from_db()
    print(gate.status, list(gate.decisions.standing().values_list("by_name", "verdict")))
    assert gate.decisions.standing().filter(by=people.carol, verdict="approve").exists(), "her vote of before is lost"


def test_unreachable_quorum_goes_to_admins(ask, people):
    gate = ask(Policy(approvers=["group:finance", "group:legal"], quorum={"group:finance": 1, "group:legal": 1}))
    assert "admin" in gate.approver_groups, gate.approver_groups


def test_after_undo_the_next_approval_has_all_its_tries(make_gate, answer, people, worker, at):
    gate = make_gate("t-fresh", amount=400)
    flows.script["price"] = lambda: 1 / 0
    d = answer(gate, "bob", "approve", channel="page")
    at("10 seconds")
    worker(gate.run)
    run = Run.objects.get(pk=gate.run_id)
    print(run.status, run.failures, run.attempt, run.pause, run.doubt_at)
    take_back(gate.pk, d.pk, by=people.bob)
    run.refresh_from_db()
    print(run.status, run.failures, run.attempt, run.pause)
    assert run.failures == 0


def test_a_pages_decision_has_its_five_seconds_though_a_sibling_is_decided_by_api(ask, answer, people, worker, at):
    """A page's decision at one gate, the API's at its sibling a moment later: has the first its five seconds?"""
    policy = Policy(approvers=["group:finance"])
    first = ask(policy, policy)
    d = answer(first, "bob", "approve", channel="page")
    answer(first.run.gates.get(ordinal=1), "erin", "approve")
    run = Run.objects.get(pk=first.run_id)
    take_back(first.pk, d.pk, by=people.bob)


def test_delegate_back(ask, people, answer):
    gate = ask(Policy(approvers=["user:bob"]))
    acts.delegate(gate.pk, by=people.bob, to="mallory")
    acts.delegate(gate.pk, by=people.mallory, to="bob")
    assert rights.standing(gate, people.bob).right
    assert Gate.objects.decidable_by(people.bob).exists()
    with pytest.raises(Exception) as e:
        acts.delegate(gate.pk, by=people.bob, to="bob")


def test_sql_and_python_agree_on_who_may_decide(ask, people):
    """Random agreement of SQL and Python."""
    import random
    rnd = random.Random(5)
    now = database_now()
    names = list(people)
    bad = []
    for turn in range(25):
        policies = [Policy(approvers=rnd.sample(["group:finance", "user:bob", "user:alice", "role:admin", "user:mallory"], 2), quorum=rnd.choice([1, 2, 3]) if True else 1,
                           allow_self=rnd.random() < .5, distinct_from=rnd.choice([[], ["ask-2"], ["ask-1"]])) for _ in range(2)] if False else None
        ps = []
        for _ in range(2):
            ps.append(Policy(approvers=["group:finance", *rnd.sample(["user:alice", "role:admin", "user:mallory"], 2)], quorum=rnd.choice([2, 3]),
                             allow_self=rnd.random() < .5, distinct_from=rnd.choice([[], ["ask-2"], ["ask-1"]])))
        gate = ask(*ps)
        gates = list(gate.run.gates.all())
        Absence.objects.all().delete()
        for _ in range(2):
            a, b = rnd.sample(names, 2)
            Absence.objects.create(user=people[a], deputy=people[b], starts=now - timedelta(hours=1), ends=now + timedelta(hours=1))
        for _ in range(6):
            g = rnd.choice(gates)
            who = rnd.choice(names)
            u = User.objects.get(username=who)
            try:
                if rnd.random() < .5:
                    acts.delegate(g.pk, by=u, to=rnd.choice(names))
                else:
                    from approvals.services.deciding import decide
                    g.refresh_from_db()
                    decide(g.pk, by=u, verdict=rnd.choice(["approve", "reject"]), version=g.version, proposal_hash=g.proposal_hash, channel="api")
            except Exception as e:
                if type(e).__module__.startswith("django") or "psycopg" in type(e).__module__:
                    raise
            for n in names:
                u = User.objects.get(username=n)
                sql = set(Gate.objects.decidable_by(u).filter(run=gate.run))
                py = {x for x in Gate.objects.open().filter(run=gate.run) if rights.standing(x, u).right}
                if sql != py:
                    bad.append((turn, n, sql, py))
    assert not bad, bad[:3]


import pytest

from workflows import Policy


def lost():
    def fail():
        raise RuntimeError("reply lost")
    return fail


def drive_on(worker, run):
    while worker(run) or Run.objects.get(pk=run.pk).status == "queued":
        pass


def test_taking_an_old_outcome_back_makes_the_effect_act_once_more_against_the_newer_answer(make_run, answer, people, worker, at):
    join(people.erin, "operator")
    flows.script["act"] = lost()
    run = make_run("t-effect")
    drive_on(worker, run)
    first = run.gates.get()
    old = answer(first, "alice", "not_happened")
    flows.script["act"] = lost()
    drive_on(worker, run)
    second = run.gates.get(status="open")
    answer(second, "erin", "happened", channel="page", args={"answer": "seen"})
    acted = sum(one.startswith("act ") for one in flows.calls)
    try:
        take_back(first.pk, old.pk, by=people.alice)
        answer(first, "alice", "not_happened")
    except TooLate:
        pass
    at("6 seconds")
    drive_on(worker, run)
    assert sum(one.startswith("act ") for one in flows.calls) == acted, "it acted again, after erin had said that it happened"


def test_taking_an_old_approval_back_does_not_replace_the_newer_one(make_gate, answer, worker, people, at):
    old = make_gate("t-fresh", amount=400)
    flows.script["price"] = lambda: 1 / 0
    mine = answer(old, "bob", "approve")
    while worker(old.run):
        pass
    run = Run.objects.get(pk=old.run_id)
    while run.status == "queued":
        Run.objects.filter(pk=run.pk).update(available_at="2026-01-01T00:00Z")
        while worker(run):
            pass
        run.refresh_from_db()
    assert run.status == "failed"
    controls.retry(run.pk, by=people.alice, changes={"amount": 9})
    flows.script["price"] = None
    while worker(run):
        pass
    new = run.gates.get(status="open")
    assert new.action["args"] == {"amount": 9}
    answer(new, "erin", "approve", channel="page")
    try:
        take_back(old.pk, mine.pk, by=people.bob)
        answer(old, "bob", "approve")
    except TooLate:
        pass
    at("6 seconds")
    while worker(run):
        pass
    assert "buy 400" not in flows.calls, flows.calls


def test_a_quorum_of_nought_is_refused(make_run, worker, people):
    with pytest.raises(policies.PolicyInvalid):
        policies.change("t-chosen", "whoever", {"approvers": None, "quorum": 0}, by=people.carol, reason="x")


def test_a_branchs_decision_is_not_taken_back_in_a_run_that_rolls_back(make_run, answer, people, worker):
    from tests import part_flows
    flows.script["part"] = part_flows.ask_in_branch
    run = make_run("t-fan", size=3)
    worker(run)
    gate = run.gates.get()
    d = answer(gate, "bob", "approve", channel="page")
    controls.roll_back(run.pk, by=people.carol)
    from engine.sweeper import Sweeper
    Sweeper().settle()
    print(Run.objects.get(pk=run.pk).status)
    try:
        take_back(gate.pk, d.pk, by=people.bob)
    except TooLate:
        pass
    assert not Gate.objects.open().exists()


def test_a_fork_behind_an_ask_does_not_take_its_starters_own_approval(ask, answer, people, worker):
    from engine.services.forking import fork
    from tests.conftest import kinds
    join(people.carol, "finance")
    gate = ask(Policy(approvers=["group:finance"], allow_self=False))
    answer(gate, "carol", "approve")
    drive_on(worker, gate.run)
    run = Run.objects.get(pk=gate.run_id)
    seq = max(n for n, kind in enumerate(kinds(run)) if kind == "checkpoint decide_")
    flows.calls.clear()
    forked = fork(run.pk, seq=seq, by=people.carol, effects="execute")
    drive_on(worker, forked)
    copy = forked.gates.filter(status="decided").first()
    assert copy is None or not copy.decisions.filter(by=people.carol, verdict="approve").exists(), "carol has approved her own fork"

