"""``manage.py check_workflows`` names what deserves a second look."""

from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from tests.flows import Counter
from workflows import Goto, Proposal, Workflow, registry


@pytest.fixture
def careless():
    workflow = Workflow("t-careless", state=Counter, version="1")

    @workflow.step(then=["nobody"])
    def start(state):
        return Goto("nobody")

    @workflow.step
    def island(state):
        return None

    @workflow.gate
    def nobody(state):
        return Proposal("?")

    @workflow.effect
    def blind(state):
        return None

    yield workflow
    registry.forget("t-careless")


def test_it_prints_the_graph_and_names_the_findings(careless):
    out = StringIO()
    call_command("check_workflows", "t-careless", stdout=out)
    said = out.getvalue()
    assert "gate   nobody → blind, end (reject)" in said
    assert "Counter schema 1: n?, total?" in said
    for finding in ("island: nothing leads here", "nobody: a gate that names no approvers", "blind: an effect without verify"):
        assert finding in said
    assert "1 workflows, 3 findings" in said


def test_strict_fails_on_findings_and_an_unknown_name_is_said(careless):
    with pytest.raises(CommandError):
        call_command("check_workflows", "t-careless", "--strict", stdout=StringIO())
    call_command("check_workflows", "t-line", "--strict", stdout=StringIO())
    with pytest.raises(CommandError, match="No workflow is called"):
        call_command("check_workflows", "nope", stdout=StringIO())
