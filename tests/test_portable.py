"""A run's history goes to another machine as one document, and nothing in it can be altered unseen."""

import copy
import json
import random
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from approvals.models import Decision, Gate
from checkpoints import inspect, sealing, store, verifying
from engine.portable import document, exporting, importing
from engine.services import controls, forking, starting
from runs import reading
from runs.models import Branch, Run
from runs.services.moves import MoveRefused
from tests import flows
from tests.flows import script
from workflows import masking

pytestmark = pytest.mark.django_db


def text_of(run: Run) -> str:
    return "".join(exporting.written(Run.objects.get(pk=run.pk)))


def elsewhere(run: Run) -> None:
    """Play the other machine: the run is not here."""
    Decision.objects.filter(gate__run=run).delete()
    Run.objects.filter(pk=run.pk).delete()
    sealing.forget(run.pk)


@pytest.fixture
def decided(make_gate, answer, worker):
    gate = make_gate()
    answer(gate, "bob", "edit", args={"amount": 300}, comment="too much")
    worker(gate.run)
    return Run.objects.get(pk=gate.run_id)


def test_what_was_exported_is_imported_the_same(decided):
    text, journal = text_of(decided), reading.journal(decided)
    states = [inspect.checkpoint_as_json(decided, seq) for seq in range(decided.seq + 1)]
    elsewhere(decided)
    run = importing.imported(text)
    assert run.pk == decided.pk and reading.journal(run) == journal and verifying.verify(run).is_sound
    assert [inspect.checkpoint_as_json(run, seq) for seq in range(run.seq + 1)] == states
    gate = Gate.objects.get(run=run)
    assert (gate.outcome_by, gate.decisions.get().comment, gate.decisions.get().by) == ("bob", "too much", None)
    assert json.loads(text_of(run))["entries"] == json.loads(text)["entries"]


def test_a_copy_is_looked_at_and_forked_and_nothing_else(make_gate, people, worker):
    gate = make_gate()
    text = text_of(gate.run)
    elsewhere(gate.run)
    run = importing.imported(text)
    assert (run.status, Gate.objects.get(run=run).status) == ("held", "withdrawn") and "fork it" in run.reason
    for act in (controls.release, controls.cancel, controls.retry, controls.roll_back):
        with pytest.raises(MoveRefused):
            act(run.pk, by=people.carol)
    assert not worker(run)
    flows.calls.clear()
    found = forking.fork(run.pk, by=people.carol, seq=1, changes={"amount": 50})
    worker(found)
    assert Run.objects.get(pk=found.pk).status == "succeeded" and flows.calls == ["pay 50"]


def test_every_altered_byte_is_refused_and_its_place_named(decided):
    found = json.loads(text_of(decided))
    elsewhere(decided)
    rng = random.Random(7)
    places = [("run", "status"), ("run", "digest"), ("entries", 0, "keyframe"), ("entries", 1, "delta"), ("entries", 1, "at"),
              ("entries", 2, "detail"), ("entries", 3, "by"), ("entries", 4, "next_step"), ("gates", 0, "title"),
              ("gates", 0, "decisions", 0, "by_name"), ("entries", 2, "sha256"), ("manifest", "sha256")]  # fmt: skip
    for path in places:
        altered = copy.deepcopy(found)
        *above, name = path
        item: Any = altered
        for part in above:
            item = item[part]
        value = item[name]
        at = rng.randrange(len(value))
        item[name] = value[:at] + ("x" if value[at] != "x" else "y") + value[at + 1 :]
        with pytest.raises(document.DocumentInvalid) as error:
            importing.imported(json.dumps(altered))
        wanted = f"{path[0]}[{path[1]}]" if isinstance(path[1], int) else path[0]
        assert any(flaw.place.startswith(wanted) for flaw in error.value.flaws), (path, error.value.flaws)
    assert not Run.objects.filter(pk=decided.pk).exists()


def test_whoever_mends_the_outer_hashes_is_found_by_the_chain(decided):
    altered = json.loads(text_of(decided))
    altered["entries"][2]["detail"] = altered["entries"][2]["detail"].replace("finance", "nobody")
    altered["entries"] = [document.seal(one) for one in altered["entries"]]
    with pytest.raises(document.DocumentInvalid, match=r"entries\[2\] \(seq 2\): its content does not match its hash"):
        document.parsed(json.dumps(altered))


def test_items_cannot_be_left_out_or_moved(decided):
    found = json.loads(text_of(decided))
    for change in (lambda d: d["entries"].pop(2), lambda d: d["entries"].reverse(), lambda d: d["gates"].clear(),
                   lambda d: d["entries"].pop(), lambda d: d["gates"].append(d["gates"][0])):  # fmt: skip
        altered = copy.deepcopy(found)
        change(altered)
        assert list(document.verify(altered))


OURS = '"format": "holdfast-run"'


@pytest.mark.parametrize("text", ["", "nothing", "[]", "{}", f'{{{OURS}, "version": 9}}', "[" * 100_000,
                                  f'{{{OURS}, "version": 1, "run": {{}}, "entries": [1], "manifest": {{}}}}'])  # fmt: skip
def test_what_is_no_document_is_refused(text):
    with pytest.raises(document.DocumentInvalid):
        importing.imported(text)


def test_a_run_that_is_here_is_not_overwritten(decided):
    with pytest.raises(importing.RunKnown):
        importing.imported(text_of(decided))


def test_secrets_do_not_travel(make_run, worker, people):
    run = make_run("t-secret", token="tok-9f8e7d6c5b4a")
    worker(run)
    text = text_of(run)
    assert "tok-9f8e" not in text
    elsewhere(run)
    copied = importing.imported(text)
    assert inspect.checkpoint_as_json(copied, 1)["state"]["token"] == masking.MASK
    with pytest.raises(starting.InputInvalid) as error:
        forking.fork(copied.pk, by=people.carol, seq=1)
    assert set(error.value.errors) == {"changes.token", "changes.spare"}
    found = forking.fork(copied.pk, by=people.carol, seq=1, changes={"token": "tok-new-0000", "spare": None})
    worker(found)
    assert Run.objects.get(pk=found.pk).status == "waiting"


def test_large_values_and_branches_travel_too(make_run, worker, people):
    script["grow"] = lambda state: {"document": "long " * 5000}
    run = make_run("t-big")
    worker(run)
    parts = make_run("t-fan", size=3)
    worker(parts)
    for one in (run, parts):
        text = text_of(one)
        count = Branch.objects.filter(run=one).count()
        state = store.load(one.pk, 10**6).values
        elsewhere(one)
        copied = importing.imported(text)
        assert store.load(copied.pk, 10**6).values == state and Branch.objects.filter(run=copied).count() == count
        altered = json.loads(text)
        if altered["contents"]:
            altered["contents"].pop()
            assert list(document.verify(altered))


def test_the_commands_tell_the_place(decided, tmp_path, capsys):
    file = tmp_path / "run.json"
    call_command("export_run", str(decided.pk), to=str(file))
    call_command("verify_export", str(file))
    assert f"Sound: run {decided.pk}" in capsys.readouterr().out
    file.write_text(file.read_text().replace('"by": "bob"', '"by": "bub"'))
    for command in ("verify_export", "import_run"):
        with pytest.raises(CommandError, match=r"entries\[3\] \(seq 3\)"):
            call_command(command, str(file))
    call_command("export_run", str(decided.pk))
    elsewhere(decided)
    file.write_text(capsys.readouterr().out)
    call_command("import_run", str(file))
    assert Run.objects.get(pk=decided.pk).imported_at is not None
    with pytest.raises(CommandError):
        call_command("export_run", "nonsense")
