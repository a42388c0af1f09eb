"""Secrets are encrypted at rest, masked wherever people look, and revealed only to who may, with a trace."""

import json
from typing import Annotated, Any

import pytest
from cryptography.fernet import Fernet, MultiFernet
from django.conf import settings
from django.core.management import call_command
from django.db import connection
from pydantic import BaseModel

from approvals.models import Gate
from approvals.reading import gate_as_json
from approvals.refusals import InvalidDecision
from checkpoints import current, inspect, key_history, revealing, sealing, store
from checkpoints.models import Checkpoint, DataKey
from engine.services import controls, forking, starting
from runs import lineage, reading
from runs.access import NotPermitted
from runs.models import Run
from tests import flows
from tests.flows import script
from tests.history_flows import Vault
from workflows import Secret, State, masking

pytestmark = pytest.mark.django_db
TOKEN = "tok-9f8e7d6c5b4a"


@pytest.fixture
def kept(make_run: Any, worker: Any) -> Run:
    """A run with a secret in its input, in its state, in its logs and at its gate."""
    run = make_run("t-secret", token=TOKEN, said="hello")
    worker(run)
    assert flows.calls == [f"whisper {TOKEN}"]  # the step is given it as it is
    return Run.objects.get(pk=run.pk)


def everything_stored() -> str:
    """The text of every row of every table that a run leaves something in."""
    found = []
    with connection.cursor() as cursor:
        cursor.execute("SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'")
        for (table,) in cursor.fetchall():
            cursor.execute(f"SELECT string_agg(t::text, ' ') FROM \"{table}\" AS t")
            found.append(cursor.fetchone()[0] or "")
            columns = {"checkpoints_checkpoint": ("delta", "keyframe"), "checkpoints_content": ("data",)}.get(table, ())
            for column in columns:
                cursor.execute(f"SELECT encode({column}, 'escape') FROM {table} WHERE {column} IS NOT NULL")
                found += [row[0] for row in cursor.fetchall()]
    return " ".join(found)


def test_a_secret_is_nowhere_in_the_database(kept, answer, worker):
    script["shout"] = "raise"
    answer(Gate.objects.get(run=kept), "bob", "approve")
    worker(kept)
    kept.refresh_from_db()
    assert kept.seq > 4
    assert TOKEN not in everything_stored() and TOKEN.encode().hex() not in everything_stored()


def test_people_see_it_masked_everywhere(kept, answer, worker):
    script["shout"] = "raise"
    gate = Gate.objects.get(run=kept)
    assert gate.title == f"May we use {masking.MASK}?"
    answer(gate, "bob", "approve")
    worker(kept)
    run = Run.objects.get(pk=kept.pk)
    shown = [
        inspect.checkpoint_as_json(run, seq) for seq in range(run.seq + 1)
    ], reading.run_in_full(run), reading.journal(run), reading.logs(run, after=-1, limit=50), gate_as_json(gate)  # fmt: skip
    text = json.dumps([shown, [one.as_operation() for one in inspect.compare(run, 0, run, run.seq)[2]],
                       key_history.changes(run, "token"), key_history.changes(run, "spare")], default=str)  # fmt: skip
    assert TOKEN not in text and "spare of" not in text
    assert reading.run_in_full(run)["input"] == {"token": masking.MASK, "said": "hello"}
    failed = next(one for one in reading.journal(run) if one["kind"] == "attempt_failed")
    assert failed["detail"]["error"]["message"] == f"the key {masking.MASK} and {masking.MASK} do not work"
    line = reading.logs(run, after=-1, limit=5)[0][0]
    assert (line["message"], line["fields"]["deep"]) == (f"got {masking.MASK}", {"in": [masking.MASK]})


def test_the_run_goes_on_with_it_after_a_resume(kept, answer, worker):
    answer(Gate.objects.get(run=kept), "bob", "approve")
    worker(kept)
    run = Run.objects.get(pk=kept.pk)
    values = current.at(run.pk, Vault, run.seq).values
    assert (run.status, values["token"], values["cards"]) == ("succeeded", TOKEN, [{"number": "4111-1111", "holder": "ann"}])
    assert reading.output(run)["cards"] == masking.MASK  # a model that holds a secret is one


def test_the_same_secret_has_the_same_token_so_that_changes_can_be_told(kept):
    first, second = store.load(kept.pk, 0).values["token"], store.load(kept.pk, 1).values["token"]
    assert first == second and TOKEN not in first.token
    assert [one["to"] for one in key_history.changes(kept, "spare")[0]] == [None, masking.MASK]
    assert [one.path for one in inspect.compare(kept, 0, kept, 1)[2]] == [("spare",), ("n",)]


def test_only_an_admin_reveals_and_the_journal_says_so(kept, people):
    for name in ("alice", "bob", "dave", "mallory"):
        with pytest.raises(NotPermitted):
            revealing.reveal(kept.pk, 1, "token", by=people[name], reason="curious")
    assert revealing.reveal(kept.pk, 1, "token", by=people.carol, reason="incident 7") == TOKEN
    entry = reading.journal(kept, newest_first=True)[0]
    assert (entry["kind"], entry["by"]) == ("note", "carol")
    assert entry["detail"] == {"text": "looked at the secret 'token' as of seq 1", "reason": "incident 7"}
    with pytest.raises(revealing.NotSecret, match="said"):
        revealing.reveal(kept.pk, 1, "said", by=people.carol, reason="")


def test_rotating_the_master_key_touches_no_content(kept, monkeypatch):
    before = list(Checkpoint.objects.filter(run=kept).values_list("delta", "keyframe", "content_hash"))
    wrapped = DataKey.objects.get(run=kept).wrapped
    new, old = Fernet.generate_key(), settings.HOLDFAST_MASTER_KEYS[0]
    monkeypatch.setattr(sealing, "master", lambda: MultiFernet([Fernet(new), Fernet(old)]))
    call_command("rotate_master_key")
    assert DataKey.objects.get(run=kept).wrapped != wrapped
    assert list(Checkpoint.objects.filter(run=kept).values_list("delta", "keyframe", "content_hash")) == before
    monkeypatch.setattr(sealing, "master", lambda: MultiFernet([Fernet(new)]))  # the old one is taken out
    sealing.forget(kept.pk)
    assert current.at(kept.pk, Vault, 1).values["token"] == TOKEN


def test_without_its_master_key_a_run_is_held_with_the_remedy_and_its_page_still_reads(kept, answer, worker, monkeypatch):
    answer(Gate.objects.get(run=kept), "bob", "approve")
    monkeypatch.setattr(sealing, "master", lambda: MultiFernet([Fernet(Fernet.generate_key())]))
    sealing.forget(kept.pk)
    worker(kept)
    run = Run.objects.get(pk=kept.pk)
    assert run.status == "held" and "HOLDFAST_MASTER_KEY" in run.reason
    assert inspect.checkpoint_as_json(run, 1)["state"]["token"] == masking.MASK


def test_a_fork_has_the_secret_under_a_key_of_its_own(kept, people):
    found = forking.fork(kept.pk, by=people.carol, seq=1, changes={"spare": "another one"})
    assert current.at(found.pk, Vault, found.seq).values["token"] == TOKEN
    assert current.at(found.pk, Vault, found.seq).values["spare"] == "another one"
    assert store.load(found.pk, 0).values["token"] != store.load(kept.pk, 1).values["token"]
    assert inspect.compare(kept, 1, found, 0)[2] == []  # across keys the values are compared
    assert [one.as_operation() for one in inspect.compare(kept, 1, found, found.seq)[2]] == [
        {"op": "replace", "path": "/spare", "value": masking.MASK}
    ]
    assert lineage.tree(found).forks[0].forked["changed"] == {"spare": {"from": masking.MASK, "to": masking.MASK}}


def test_the_same_key_with_another_secret_is_another_input(people):
    given: dict[str, Any] = {"workflow": "t-secret", "by": people.alice, "idempotency_key": "k"}
    run, _ = starting.start(input={"token": TOKEN}, **given)
    assert starting.start(input={"token": TOKEN}, **given) == (run, False)
    with pytest.raises(starting.KeyTaken):
        starting.start(input={"token": "tok-of-another"}, **given)


def test_an_action_cannot_carry_a_secret_past_the_mask(make_run, worker):
    from engine import gates
    from workflows import Action, Proposal
    from workflows.state import StateInvalid

    texts = masking.secret_texts(Vault, {"token": TOKEN})
    for action in (Action("use", {"token": "x"}, {}), Action("use", {"with": f"key {TOKEN}"}, {})):
        with pytest.raises(StateInvalid, match="cannot hold a secret"):
            gates._shown(Proposal("Use it", action=action), {"token": TOKEN}, Vault, texts)


def test_a_decision_cannot_set_one(make_run, worker, answer, people):
    run = make_run("t-effect")
    script["verify"] = "unknown"
    script["act"] = lambda: (_ for _ in ()).throw(RuntimeError("cut"))
    worker(run)
    worker(run)
    gate = Gate.objects.get(run=run)
    Run.objects.filter(pk=run.pk).update(workflow="t-secret")
    with pytest.raises(InvalidDecision, match=r"args\.token"):
        answer(gate, "alice", "happened", args={"token": "x"})


def test_a_secret_is_found_however_it_is_spelled():
    class Deep(BaseModel):
        inner: Annotated[str, Secret] = ""

    class Many(State):
        plain: str = ""
        bare: Annotated[str, Secret] = ""
        instance: Annotated[str, Secret()] = ""
        optional: Annotated[str, Secret] | None = None
        listed: list[Annotated[str, Secret]] = []
        mapped: dict[str, Annotated[str, Secret] | None] = {}
        model: Deep | None = None
        models: list[Deep] = []

    assert masking.secret_fields(Many) == set(Many.model_fields) - {"plain"}


def test_a_release_may_set_a_secret(kept, people, answer, worker):
    answer(Gate.objects.get(run=kept), "bob", "approve")
    controls.hold(kept.pk, by=people.alice)
    controls.release(kept.pk, by=people.alice, changes={"token": "tok-renewed-1234"})
    worker(kept)
    run = Run.objects.get(pk=kept.pk)
    assert current.at(run.pk, Vault, run.seq).values["token"] == "tok-renewed-1234"
    assert "tok-renewed" not in everything_stored()
