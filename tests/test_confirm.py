"""An effect that reports success is believed only when it can be seen, where its author wants that."""

import pytest

from runs.models import Run
from tests import flows
from tests.conftest import kinds
from workflows import Happened, NotHappened, RegistrationError, Workflow

pytestmark = pytest.mark.django_db


def after(looks):
    """A verify that sees the effect from its ``looks``-th look on."""
    return lambda state, ctx: Happened() if flows.calls.count("verify") >= looks else NotHappened()


def test_a_confirmed_effect_is_looked_for_until_it_is_visible(make_run, worker):
    flows.script["verify"] = after(3)
    run = make_run("t-confirmed")
    worker(run)
    assert Run.objects.get(pk=run.pk).status == "succeeded"
    assert kinds(run) == ["checkpoint", *["verified send"] * 3, "checkpoint send", "ended"]
    assert run.checkpoints.latest("seq").values()["answer"] == "sent"  # the step's own result, not verify's


def test_what_is_never_seen_is_in_doubt(make_run, worker):
    flows.script["verify"] = "unknown"
    run = make_run("t-confirmed")
    worker(run)
    failed = run.events.get(kind="attempt_failed").as_entry()["detail"]
    assert (failed["error"]["type"], failed["in_doubt"], failed["returned"]) == ("Unconfirmed", True, "{'answer': 'sent'}")
    Run.objects.filter(pk=run.pk).update(available_at="2020-01-01T00:00Z")
    worker(run)
    gate = run.gates.get()
    assert (gate.kind, len(flows.calls) - flows.calls.count("verify")) == ("outcome", 1)


def test_an_effect_that_is_there_already_is_not_done(make_run, worker):
    flows.script["verify"] = "happened"
    run = make_run("t-checked")
    worker(run)
    assert (Run.objects.get(pk=run.pk).status, flows.calls) == ("succeeded", ["verify"])
    assert run.checkpoints.latest("seq").values()["answer"] == "found"


def test_one_that_is_not_there_is_done_at_once(make_run, worker):
    flows.script["verify"] = "not"
    run = make_run("t-checked")
    worker(run)
    assert (Run.objects.get(pk=run.pk).status, flows.calls) == ("succeeded", ["verify", "act"])


@pytest.mark.parametrize("option", ["confirm", "check_first"])
def test_looking_needs_something_to_look_with(option):
    from workflows import registry

    workflow = Workflow("t-blind", state=flows.Counter, version="1")
    try:
        with pytest.raises(RegistrationError, match=f"{option}=True needs verify"):
            workflow.effect(confirm=option == "confirm", check_first=option == "check_first")(lambda state: None)
    finally:
        registry.forget("t-blind")
