"""Odd actions, odd texts and odd times, at every door of a gate."""

import json
from datetime import timedelta
from typing import Annotated

import pytest
from django.test import Client
from pydantic import BaseModel, ConfigDict, Field

from approvals import dry_run, showing
from approvals.models import Gate
from approvals.services import checking
from approvals.services import people as acts
from approvals.services.taking_back import take_back
from engine.services import controls
from runs.models import Run
from tests import flows, gate_flows
from tests.forms import posted
from tests.test_api import Api
from workflows import Ask, Policy, Proposal, Secret, State, Workflow
from workflows.actions import Action

pytestmark = pytest.mark.django_db


HOUR = timedelta(hours=1)


LATER = "6 seconds"


ALL = Policy(approvers=["group:finance", "user:carol"], quorum=2)


def undo(gate, decision, by):
    return take_back(gate.pk, decision.pk, by=by)


def tried(gate):
    return dry_run.of(gate.run.workflow, gate.key, gate.policy)


class Odd(State):
    items: list[str] = []
    token: Annotated[str, Secret] = ""
    log: list[str] = []
    n: int = 0


odd = Workflow("t-odd", state=Odd, version="1")


FINANCE = Policy(approvers=["group:finance"])


@odd.step(then=["choose", "settled_"])
def choose(state):
    return [
        Ask(
            Proposal("Choose", action=flows.script.get("action")),
            policy=flows.script.get("policy", FINANCE),
            verdicts=["approve", "edit", "reject"],
            on_reject="next",
        )
    ]


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


class Bag(BaseModel):
    bag: dict[str, float] = {}
    name: str = ""
    n: int = 1


SCHEMAS = {
    "boolean subschema": {"type": "object", "properties": {"a": True}},
    "anyOf boolean": {"type": "object", "properties": {"a": {"anyOf": [True, {"type": "null"}]}}},
    "items list": {"type": "object", "properties": {"a": {"type": "array", "items": [{"type": "string"}]}}},
    "type list": {"type": "object", "properties": {"a": {"type": ["string", "null"]}}},
    "properties null": {"type": "object", "properties": None},
    "required null": {"type": "object", "properties": {"a": {"type": "string"}}, "required": None},
    "definitions": {
        "type": "object",
        "properties": {"a": {"$ref": "#/definitions/A"}},
        "definitions": {"A": {"type": "string"}},
    },
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
    "nested digit": {
        "type": "object",
        "properties": {"²": {"type": "object", "properties": {"b": {"type": "string"}}}},
        "required": ["²"],
    },
    "dots": {
        "type": "object",
        "properties": {
            "a.b": {"type": "string"},
            "a": {"type": "string"},
            "x:remove": {"type": "string"},
            "": {"type": "string"},
        },
    },
    "empty": {},
    "true": {"type": "object", "additionalProperties": {"type": "string"}},
}


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")
    amount: int


class Aliased(BaseModel):
    model_config = ConfigDict(populate_by_name=True)
    amount: int = Field(alias="theAmount")


class Rate(BaseModel):
    rate: float


def lost():
    def fail():
        raise RuntimeError("reply lost")

    return fail


def drive_on(worker, run):
    while worker(run) or Run.objects.get(pk=run.pk).status == "queued":
        pass


def test_a_moment_that_was_left_alone_is_as_it_was():
    schema = {"type": "object", "properties": {"at": {"type": "string", "format": "date-time"}, "n": {"type": "integer"}}}
    args = {"at": "2026-03-01T10:00:00.123456Z", "n": 1}
    assert posted(schema, args, n="2") == {**args, "n": 2}


def test_values_of_several_types_that_are_spelled_alike_keep_their_types():
    schema = {"type": "object", "properties": {"v": {"enum": [1, "1", 2]}}}
    assert posted(schema, {"v": 2}, v="1") in ({"v": 1},)


def test_an_argument_that_was_empty_and_is_edited_is_shown_as_edited(make_gate, answer):
    gate = Gate(action={"name": "Pay", "args": {"to": "eve"}, "proposed": {"to": None}, "order": ["to"]})
    (argument,) = gate.arguments()
    assert argument.changed, "the page shows no difference"


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


@pytest.mark.parametrize(
    "path,body",
    [
        ("delegation/", {"to": "a\0b"}),
        ("comments/", {"text": "a\0b"}),
        ("decisions/", {"verdict": "a\0b"}),
        ("decisions/", {"verdict": "approve", "comment": "a\0b"}),
        ("decisions/", {"verdict": "reject", "comment": "x" * 20000}),
        ("snooze/", {"minutes": "9" * 18}),
        ("snooze/", {"minutes": "-5"}),
        ("bypass/", {"verdict": "\0", "comment": "x"}),
        ("claim/", {"take_over": "\0"}),
        ("edits/", {}),
        ("presence/", {}),
        ("decisions/0/undo/", {}),
        ("decisions/99999999999999999999999/undo/", {}),
    ],
)
def test_odd_input_on_a_page(make_gate, page, path, body):
    gate = make_gate()
    assert page("bob").post(f"/gates/{gate.pk}/{path}", {**body, **seen(gate)}).status_code < 500
    if "bypass" in path:
        assert page("carol").post(f"/gates/{gate.pk}/{path}", {**body, **seen(gate)}).status_code < 500


@pytest.mark.parametrize(
    "query",
    [
        "?tab=x",
        "?after=999999999999999999",
        "?after=-1",
        "?q=%00",
        "?q=%25_",
        "?done=999999999999999999",
        "?tab=history&after=5",
        "?tab=escalated&q=x",
        "?q=" + "x" * 5000,
    ],
)
def test_odd_queries(make_gate, page, query):
    make_gate()
    for name in ("bob", "mallory", "carol"):
        assert page(name).get("/gates/" + query).status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        {"deputy": "a\0b", "starts": "2030-01-01T00:00", "ends": "2030-01-02T00:00"},
        {"deputy": "erin", "starts": "2030-99-01T00:00", "ends": "2030-01-02T00:00"},
        {"deputy": "erin", "starts": "x", "ends": "y"},
        {"deputy": "erin", "user": "a\0b", "starts": "2030-01-01T00:00", "ends": "2030-01-02T00:00"},
    ],
)
def test_odd_absences(page, body):
    for name in ("bob", "carol"):
        assert page(name).post("/gates/absences/", body).status_code < 500


def test_an_absence_at_the_end_of_time_breaks_no_page(people, page):
    answer = Api(people.mallory).post(
        "/api/absences", {"deputy": "bob", "starts": "2026-01-01T00:00:00Z", "ends": "9999-12-31T23:59:59-14:00"}
    )
    assert answer.status_code < 500
    assert page("carol").get("/gates/absences/").status_code == 200
    assert page("erin").get("/gates/absences/").status_code == 200


def test_a_snooze_at_the_end_of_time_breaks_no_page(ask, people, page):
    gate = ask(FINANCE)
    answer = Api(people.bob).post(f"/api/gates/{gate.pk}/snooze", {"until": "9999-12-31T23:59:59-14:00"})
    assert answer.status_code < 500, answer.content
    assert page("bob").get(f"/gates/{gate.pk}/").status_code == 200


@pytest.mark.parametrize("field", ['{"a": NaN}', '{"a": 1e999}', "[" * 100_000, '{"a": 1, "\\u0000": 2}'])
def test_odd_json_in_a_form(choose_, page, field):
    gate = choose_(Bag())
    answer = page("bob").post(
        f"/gates/{gate.pk}/decisions/", {"verdict": "edit", "field-bag": field, "field-name": "", "field-n": "1", **seen(gate)}
    )
    assert answer.status_code < 500


@pytest.mark.parametrize("name", ["a\0b", "x" * 100000])
def test_odd_text_in_a_form(choose_, page, name):
    gate = choose_(Bag())
    answer = page("bob").post(
        f"/gates/{gate.pk}/decisions/",
        {"verdict": "edit", "field-bag": "{}", "field-name": name, "field-n": "9" * 5000, **seen(gate)},
    )
    assert answer.status_code < 500
    answer = page("bob").post(
        f"/gates/{gate.pk}/decisions/",
        {"verdict": "edit", "field-bag": "{}", "field-name": name, "field-n": "9" * 50, **seen(gate)},
    )
    assert answer.status_code < 500


@pytest.mark.parametrize("name", SCHEMAS)
@pytest.mark.parametrize("value", ["text", {"b": "x"}])
def test_odd_schemas(choose_, page, people, name, value):
    gate = choose_(Action("act", {"a": value}, SCHEMAS[name]))
    assert page("bob").get(f"/gates/{gate.pk}/").status_code == 200
    assert page("bob").post(f"/gates/{gate.pk}/edits/", {"field-a": "y", **seen(gate)}).status_code < 500
    client = Client(raise_request_exception=False, headers=Api(people.bob).client.headers if False else {})
    from holdfast.models import ApiToken

    client = Client(raise_request_exception=False, headers={"authorization": f"Bearer {ApiToken.issue(people.bob)}"})
    got = client.post(
        f"/api/gates/{gate.pk}/decisions",
        json.dumps({"verdict": "edit", "args": {"a": "other"}, **seen(gate)}),
        content_type="application/json",
    )
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


def test_an_action_with_extra_arguments_can_be_edited(choose_, answer):
    gate = choose_(Open(amount=1, note="x"))
    answer(gate, "bob", "edit", args={"amount": 2, "note": "x"})


def test_an_action_with_aliases_can_be_edited(choose_, answer):
    gate = choose_(Aliased(amount=1))
    print(gate.action)
    answer(gate, "bob", "edit", args={**gate.action["args"], next(iter(gate.action["args"])): 2})


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


@pytest.mark.parametrize(
    "form",
    [
        {"timeout": "9999d", "zone": "UTC", "days": ["mon"], "start": "09:00", "end": "09:01"},
        {"timeout": "99999999999d"},
        {"quorum_by_group": "group:finance " + "9" * 5000},
        {"quorum": "1001"},
        {"zone": "../../etc/passwd"},
        {"zone": "UTC", "holidays": "HolidayBase", "days": ["mon"]},
        {"zone": "UTC", "holidays": "registry", "days": ["mon"]},
        {"zone": "UTC", "days": []},
        {"remind": "1x"},
        {"zone": "UTC", "days": ["mon"], "holidays": "DE-ZZ"},
        {"zone": "UTC", "days": ["mon"], "holidays": "x" * 1000},
        {"escalations": "4h"},
        {"escalations": "x" * 100000},
        {"escalations": "\n".join(["1h group:a"] * 2000)},
        {"zone": "Europe"},
        {"distinct_from": "x" * 5000},
        {"approvers": "user:" + "x" * 500},
        {"distinct_from": "x" * 300, "timeout": "1h"},
        {"escalations": "1h user:" + "x" * 500, "timeout": "1h"},
    ],
)
@pytest.mark.parametrize("move", ["try", ""])
def test_odd_policies(make_gate, page, answer, form, move, make_run, worker):
    answer(make_gate(), "bob", "approve")
    body = {
        "quorum": "1",
        "veto": "1",
        "risk": "normal",
        "on_timeout": "reject",
        "start": "09:00",
        "end": "17:00",
        "reason": "x",
        "move": move,
        **form,
    }
    got = page("carol").post("/policies/t-gated/boss/", body)
    assert got.status_code < 500 and got.status_code != 404
    if move == "" and got.status_code == 302:
        run = make_run("t-gated", amount=400)
        worker(run)
        run.refresh_from_db()
        assert run.status == "waiting", run.error
