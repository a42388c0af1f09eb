"""Definitions that cannot work are refused when they are made, with file, step and remedy."""

from typing import Annotated

import pytest
from pydantic import BaseModel

from workflows import Append, Merge, Policy, Proposal, RegistrationError, Retry, State, Workflow, escalate, registry


class Small(State):
    n: int = 0


@pytest.fixture
def workflow():
    yield Workflow("t-made-here", state=Small, version="1")
    registry.forget("t-made-here")


def refused(act, *words):
    with pytest.raises(RegistrationError) as caught:
        act()
    for word in words:
        assert word in str(caught.value)


def test_a_duplicate_step_is_refused_with_both_places(workflow):
    @workflow.step
    def go(state): ...

    refused(lambda: workflow.step(name="go")(lambda state: None), "test_authoring.py", "'go'", "defined twice", "rename")


@pytest.mark.parametrize("name", ["end", "next", "roll_back"])
def test_reserved_names_are_refused(workflow, name):
    refused(lambda: workflow.step(name=name)(lambda state: None), name, "reserved")


def test_an_unknown_target_is_refused(workflow):
    workflow.step(name="a", then=["nowhere"])(lambda state: None)
    refused(workflow.finish, "'a'", "'nowhere'", "no step")


def test_an_unknown_gate_in_approved_by_is_refused(workflow):
    workflow.effect(name="a", approved_by="nobody")(lambda state: None)
    refused(workflow.finish, "'a'", "approved_by", "no gate")


def test_needs_must_name_fields(workflow):
    workflow.step(name="a", needs=["zzz"])(lambda state: None)
    refused(workflow.finish, "zzz", "no field of Small")


def test_respond_needs_a_step_that_reads_the_words(workflow):
    refused(lambda: workflow.gate(name="g", verdicts=["approve", "respond"])(lambda state: None), "on_respond")


@pytest.mark.parametrize("options", [{"timeout": "soon"}, {"timeout": 0}, {"colour": 1}, {"then": "x"}])
def test_bad_options_are_refused_by_name(workflow, options):
    refused(lambda: workflow.step(name="a", **options)(lambda state: None), "'a'", next(iter(options)))


def test_a_step_must_take_the_state(workflow):
    refused(lambda: workflow.step(name="a")(lambda: None), "must take (state)")


def test_two_workflows_of_one_name_and_version_are_refused(workflow):
    refused(lambda: Workflow("t-made-here", state=Small, version="1"), "t-made-here", "defined already")


def test_a_reducer_that_does_not_fit_its_field_is_refused():
    def define():
        class Wrong(State):
            n: Annotated[int, Append] = 0

    refused(define, "Wrong.n", "Append", "list")


def test_two_reducers_are_refused():
    def define():
        class Wrong(State):
            n: Annotated[dict[str, int], Merge, Append] = {}

    refused(define, "Wrong.n", "2 reducers")


@pytest.mark.parametrize(
    ("given", "word"),
    [
        ({"approvers": ["bob"]}, "malformed"),
        ({"approvers": "user:bob"}, "a list was expected"),
        ({"approvers": ["user:bob"], "quorum": 2}, "never be met"),
        ({"quorum": 0}, "quorum"),
        ({"timeout": "1h", "on_timeout": "explode"}, "explode"),
        ({"timeout": -1}, "negative"),
        ({"on_timeout": escalate(["user:bob"], timeout="1h")}, "needs a timeout"),
    ],
)
def test_a_policy_that_cannot_work_is_refused(given, word):
    with pytest.raises(ValueError, match=word):
        Policy(**given)


def test_a_proposal_needs_a_title_and_a_known_action():
    with pytest.raises(ValueError, match="title"):
        Proposal("")
    with pytest.raises(ValueError, match="Pydantic instance"):
        Proposal("x", action={"amount": 1})


def test_retry_waits_at_most_its_cap_and_grows():
    retry = Retry(attempts=9, backoff=1, cap=60)
    assert all(retry.delay(number) <= min(60, 2 ** (number - 1)) for number in range(1, 200))
    with pytest.raises(ValueError, match="attempts"):
        Retry(attempts=0)


def test_the_action_schema_is_the_models():
    class Act(BaseModel):
        amount: int

    shown = Proposal("x", action=Act(amount=3)).action_as_json()
    assert shown is not None
    assert (shown["name"], shown["args"]) == ("Act", {"amount": 3})
    assert shown["schema"]["properties"]["amount"]["type"] == "integer"


def test_a_graph_shows_branches_after_the_step_that_sends_to_them():
    from demo.contacts import contacts

    graph = contacts.graph()
    assert [node["name"] for node in graph["nodes"]] == ["load", "check", "agree", "split", "write", "report"]
    assert {"from": "split", "to": "write", "label": "each"} in graph["edges"]
    assert {"from": "write", "to": "report", "label": "join"} in graph["edges"]


def test_a_branch_is_named_once_and_leads_to_branches_alone(workflow):
    workflow.step(name="go")(lambda state: None)
    with pytest.raises(RegistrationError, match="defined twice"):
        workflow.branch(name="go")(lambda state, ctx, arg: None)
    workflow.branch(name="part", then=["go"])(lambda state, ctx, arg: None)
    with pytest.raises(RegistrationError, match="leads to 'go', which is no branch step"):
        workflow.finish()
    with pytest.raises(RegistrationError, match=r"must take \(state\), \(state, ctx\) or \(state, ctx, arg\)"):
        workflow.branch(name="many")(lambda a, b, c, d: None)
