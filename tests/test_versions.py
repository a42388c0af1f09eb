"""Old states under new schemas: upgraded when they are loaded, kept as they were written."""

from typing import Any

import pytest

from approvals.models import Gate
from checkpoints import current, inspect, store, verifying
from checkpoints.models import Checkpoint
from engine.services import controls
from runs.models import Run
from workflows import Policy, Proposal, State, Workflow, registry
from workflows.errors import MigrationMissing
from workflows.migrating import upgraded

pytestmark = pytest.mark.django_db


def one() -> None:
    """The first deployment."""

    class Order(State):
        cents: int = 0
        note: str = ""

    flow = Workflow("t-versions", state=Order, version="1")

    @flow.step
    def note(state: Any) -> Any:
        return {"note": f"{state.cents} cents"}

    _rest(flow)


def two(*, migrates: bool = True) -> type[State]:
    """The second: another version of the workflow, and a schema that calls things by other names."""
    registry.forget("t-versions")

    class Order(State, schema_version=2):
        euros: float = 0.0
        note: str = ""
        currency: str = "EUR"

    if migrates:

        @Order.migrate(from_version=1)
        def to_euros(old: dict[str, Any]) -> dict[str, Any]:
            return {"euros": old["cents"] / 100, "note": old["note"]}

    flow = Workflow("t-versions", state=Order, version="2")

    @flow.step
    def note(state: Any) -> Any:
        return {"note": f"{state.euros} {state.currency}"}

    _rest(flow)
    return Order


def _rest(flow: Any) -> None:
    @flow.gate(policy=Policy(approvers=["group:finance"]))
    def asked(state: Any) -> Proposal:
        return Proposal("Go on?")

    @flow.step
    def finish(state: Any) -> Any:
        return {"note": state.note + "!"}


@pytest.fixture
def old_run(make_run: Any, worker: Any) -> Any:
    """A run of the first deployment, at its gate."""
    one()
    run = make_run("t-versions", cents=1250)
    worker(run)
    yield run
    registry.forget("t-versions")


def test_an_old_state_goes_on_under_the_new_schema(old_run, answer, worker):
    kind = two()
    before = list(Checkpoint.objects.filter(run=old_run).values_list("delta", "schema_version"))
    answer(Gate.objects.get(run=old_run), "bob", "approve")
    worker(old_run)
    run = Run.objects.get(pk=old_run.pk)
    assert run.status == "succeeded"
    assert current.at(run.pk, kind, run.seq).values == {"euros": 12.5, "note": "1250 cents!", "currency": "EUR"}
    rows = Checkpoint.objects.filter(run=run).order_by("seq")
    assert [(bytes(delta), version) for delta, version in before] == [
        (bytes(row.delta), row.schema_version) for row in rows[: len(before)]
    ]
    assert [(row.step, row.schema_version, row.keyframe is not None) for row in rows] == [
        ("", 1, True), ("note", 1, False), ("asked", 1, False), ("finish", 2, True)
    ]  # fmt: skip
    assert inspect.checkpoint_as_json(run, 1)["state"] == {"cents": 1250, "note": "1250 cents"}
    assert verifying.verify(run).is_sound


def test_without_a_migration_the_run_stops_with_the_remedy_and_the_page_still_reads(old_run, answer, worker, people, client):
    two(migrates=False)
    answer(Gate.objects.get(run=old_run), "bob", "approve")
    worker(old_run)
    run = Run.objects.get(pk=old_run.pk)
    assert run.status == "held" and "@Order.migrate(from_version=1)" in run.reason and "release the run" in run.reason
    client.force_login(people.alice)
    for address in (f"/runs/{run.pk}/", f"/runs/{run.pk}/checkpoints/1/", f"/runs/{run.pk}/changes/"):
        page = client.get(address)
        assert page.status_code in (200, 409) and ("checkpoints" not in address or b"1250 cents" in page.content)
    registry.forget("t-versions")
    two()
    controls.release(run.pk, by=people.alice)
    worker(run)
    assert Run.objects.get(pk=run.pk).status == "succeeded"


def test_a_state_of_a_newer_deployment_stops_the_run_too(old_run, answer, worker):
    kind = two()
    registry.forget("t-versions")
    one()
    with pytest.raises(MigrationMissing, match="newer deployment"):
        upgraded(registry.newest("t-versions").state, {}, kind.schema_version)


def test_migrations_are_chained_and_what_they_get_wrong_is_named():
    class Three(State, schema_version=3):
        n: int = 0

    with pytest.raises(MigrationMissing, match=r"migrate\(from_version=1\)"):
        upgraded(Three, {"n": 1}, 1)
    Three.migrate(from_version=1)(lambda old: {**old, "n": old["n"] + 10})
    old = {"n": 1, "deep": {"x": [1]}}
    with pytest.raises(MigrationMissing, match=r"migrate\(from_version=2\)"):
        upgraded(Three, old, 1)

    @Three.migrate(from_version=2)
    def second(values):
        values["deep"]["x"].append(2)
        return {"n": values["n"] * 2}

    assert upgraded(Three, old, 1) == {"n": 22} and old == {"n": 1, "deep": {"x": [1]}}  # what was given is left as it is
    Three.migrations[2] = lambda values: {"n": 1 // 0}
    with pytest.raises(MigrationMissing, match=r"failed in .*ZeroDivisionError"):
        upgraded(Three, old, 2)
    Three.migrations[2] = lambda values: [1]  # type: ignore[assignment, return-value]
    with pytest.raises(MigrationMissing, match="a dict was expected"):
        upgraded(Three, old, 2)


def test_a_decision_that_changes_the_state_is_made_under_the_new_schema(old_run, people, worker):
    """A held run whose state is changed by hand after the deployment: a keyframe of the new version."""
    controls.hold(old_run.pk, by=people.alice)
    Gate.objects.filter(run=old_run).delete()
    kind = two()
    controls.release(old_run.pk, by=people.alice, changes={"currency": "CHF"})
    row = Checkpoint.objects.filter(run=old_run).order_by("-seq").first()
    assert (row.schema_version, row.keyframe is not None) == (2, True)
    assert store.load(old_run.pk, row.seq).values == {"euros": 12.5, "note": "1250 cents", "currency": "CHF"}
    assert current.at(old_run.pk, kind, 1).values["currency"] == "EUR"
