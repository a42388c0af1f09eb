"""States as they are stored: small, whole, once, and proven."""

import itertools
import random
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from hypothesis import given, settings
from hypothesis import strategies as st

from checkpoints import blob, packing, store, verifying
from checkpoints.models import Checkpoint, Content
from runs.models import Event, Run
from tests import flows, history_flows
from tests.flows import script
from workflows import Replace, codec, delta
from workflows.state import apply

pytestmark = pytest.mark.django_db

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=5)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats(-2, 2) | TEXT,
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)


def words(count: int, seed: int = 1) -> str:
    return " ".join(str(random.Random(seed + at).getrandbits(40)) for at in range(count))


def write(run: Run, state: Any, values: dict[str, Any], since: packing.Since, **updates: Any) -> Any:
    """One more checkpoint, as a worker would write it."""
    change = apply(state, values, updates)
    store.write_change(run, type(state), change, since, next_step="grow", step="grow")
    return change.state, change.values


@pytest.fixture
def history(make_run: Callable[..., Run]) -> Callable[..., Any]:
    """A run of ``t-big`` and a function that appends to its history."""

    def begin(**input: Any) -> Any:
        run = make_run("t-big", **input)
        state = history_flows.Big.parse(input)
        kept: dict[str, Any] = {"at": (state, store.load(run.pk, 0).values), "since": store.load(run.pk, 0).since}

        def more(**updates: Any) -> dict[str, Any]:
            state, values = kept["at"]
            kept["at"] = write(run, state, values, kept["since"], **updates)
            return dict(kept["at"][1])

        return run, more

    return begin


@given(old=JSON, new=JSON)
@settings(max_examples=150, deadline=None)
def test_an_edit_makes_of_the_old_value_exactly_the_new_one(old, new):
    for before, after in (
        (old, new),
        ([old] * 200, [*[old] * 100, new, *[old] * 99]),
        ({"a": "x" * 600, "b": old}, {"b": new, "a": "x" * 600}),
    ):
        found = delta.edit(before, after)
        if found is not None:
            assert codec.same(codec.loads(codec.dumps(delta.edited(before, found))), after)


def test_an_edit_tells_one_from_true_and_from_1_0():
    old = [1] * 600
    for other in (True, 1.0):
        found = delta.edit(old, [*old[:200], other, *old[201:]])
        assert found == {"at": 200, "cut": 1, "put": [other]} and type(found["put"][0]) is type(other)


def test_a_long_text_is_stored_as_what_was_edited_in_it():
    old = words(3000)
    new = old[:20_000] + "HELLO" + old[20_010:]
    assert delta.edit(old, new) == {"at": 20_000, "cut": 10, "put": "HELLO"}
    assert delta.edit(old, words(3000, seed=9)) is None


def test_a_list_edited_in_place_is_stored_as_its_edit(history):
    run, more = history(messages=[{"role": "user", "content": words(20, seed=at)} for at in range(150)])
    before = store.load(run.pk, 0).values["messages"]
    more(messages=Replace([*before[:70], {"role": "user", "content": "new"}, *before[71:]]))
    row = Checkpoint.objects.get(run=run, seq=1)
    assert len(row.delta) < 200 and row.changed() == {"messages": {"edited": True}}
    assert store.load(run.pk, 1).values["messages"][70] == {"role": "user", "content": "new"}


def test_a_large_value_that_comes_and_goes_is_stored_once(history):
    run, more = history()
    for turn in range(6):
        more(document=words(4000, seed=turn % 2))
    assert Content.objects.filter(run=run).count() == len({one for turn in (0, 1) for one in _pieces(words(4000, seed=turn))})
    assert store.load(run.pk, 6).values["document"] == words(4000, seed=1)
    assert store.load(run.pk, 5).values["document"] == words(4000, seed=0)


def _pieces(text: str) -> list[str]:
    return [text[at : at + 131072] for at in range(0, len(text), 131072)]


def test_a_growing_list_costs_what_was_added_and_any_state_loads(history):
    run, more = history()
    wanted = [more(messages=[{"role": "user", "content": words(60, seed=turn)}]) for turn in range(200)]
    stored = sum(len(row.delta) + len(row.keyframe or b"") for row in Checkpoint.objects.filter(run=run))
    stored += sum(len(piece.data) for piece in Content.objects.filter(run=run))
    whole = len(codec.dumps(wanted[-1]))
    assert stored < 2.5 * whole  # the full state each time would be a hundred times that
    for seq in (1, 31, 32, 33, 127, 128, 150, 199):
        assert store.load(run.pk, seq).values == wanted[seq - 1]
    assert verifying.verify(Run.objects.get(pk=run.pk)).is_sound


def test_any_state_is_read_from_a_bounded_number_of_rows(history, django_assert_max_num_queries):
    run, more = history(document=words(1000))
    for turn in range(150):
        more(n=turn + 1)
    with django_assert_max_num_queries(2):
        loaded = store.load(run.pk, 140)
    assert loaded.values["n"] == 140 and loaded.since.count < packing.KEYFRAME_EVERY
    frames = list(Checkpoint.objects.filter(run=run, keyframe__isnull=False).values_list("seq", flat=True))
    assert all(later - earlier <= packing.KEYFRAME_EVERY for earlier, later in itertools.pairwise(frames))


def flip(row: Any, column: str) -> None:
    """Alter one byte of a stored column."""
    value = bytearray(getattr(row, column))
    value[len(value) // 2] ^= 1
    type(row).objects.filter(pk=row.pk).update(**{column: bytes(value)})


def test_one_flipped_byte_is_named_wherever_it_is(history):
    run, more = history(document=words(1000))
    for turn in range(5):
        more(n=turn + 1, document=words(1000, seed=turn + 5))
    run = Run.objects.get(pk=run.pk)
    assert verifying.verify(run).is_sound
    flip(Checkpoint.objects.get(run=run, seq=2), "delta")
    Event.objects.create(run=run, seq=99, kind="note", detail="{}", content_hash=b"", digest=b"")  # beyond the run: not its own
    report = verifying.verify(run)
    assert [(one.seq, one.why) for one in report.breaks] == [(2, "its content does not match its hash")]
    flip(Checkpoint.objects.get(run=run, seq=4), "digest")
    flip(Content.objects.filter(run=run).first(), "data")
    whys = [one.seq for one in verifying.verify(run).breaks]
    assert whys[0] in (0, 1, 2) and {2, 4, 5} <= set(whys)
    assert store.load(run.pk, 1).values["n"] == 1 or 1 in whys
    with pytest.raises(store.HistoryBroken, match="seq 2"):
        store.load(run.pk, 3)


def test_an_entry_that_is_gone_or_rewritten_is_named(make_run, worker):
    run = make_run()
    worker(run)
    run.refresh_from_db()
    Event.objects.filter(run=run, kind="ended").update(detail='{"status":"failed"}')
    assert [one.seq for one in verifying.verify(run).breaks] == [run.seq]
    Checkpoint.objects.filter(run=run, seq=1).delete()
    assert [one.seq for one in verifying.verify(run).breaks] == [1, run.seq]
    Event.objects.filter(run=run, kind="ended").delete()
    assert [one.seq for one in verifying.verify(run).breaks] == [1, run.seq]


def test_a_broken_history_is_remembered_and_not_resumed(make_gate, answer, worker):
    gate = make_gate()
    flip(Checkpoint.objects.get(run=gate.run, seq=1), "delta")
    with pytest.raises(store.HistoryBroken, match="seq 1"):
        answer(gate, "bob", "approve")
    answer(gate, "bob", "respond", comment="think again")
    worker(gate.run)
    run = Run.objects.get(pk=gate.run_id)
    assert (run.status, run.broken_at) == ("held", 1)
    assert f"The history of run {run.pk} is broken at seq 1" in run.reason
    flip(Checkpoint.objects.get(run=gate.run, seq=1), "delta")  # as it was
    assert verifying.verify_and_note(run).is_sound and Run.objects.get(pk=run.pk).broken_at is None


def test_a_known_break_before_the_last_keyframe_stops_a_run_too(make_gate, answer, worker):
    gate = make_gate()
    verifying.note(store.HistoryBroken(gate.run_id, 0, "played"))
    answer(gate, "bob", "approve")
    worker(gate.run)
    assert Run.objects.get(pk=gate.run_id).status == "held" and flows.calls == ["prepare"]


def test_what_is_no_record_is_a_break_and_never_an_error_of_ours(make_run):
    run = make_run()
    for junk in (b"", b"\x00", b"\x00[]", b"\x01abc", b"\x07{}", b'\x02{"set_parts":{"n":[1]}}', b'\x00{"append":{"q":[1]}}'):
        row = store.Row([0, b"", b"", "", 0, 1, 1, None, None, b"", junk, "one", None, True])
        row.content_hash = packing.hash_of(row.columns, None)
        with pytest.raises(store.HistoryBroken, match="seq 0"):
            store._replayed(run.pk, [row], 0)
    with pytest.raises(ValueError):
        blob.unpack(b"\x09{}")
    with pytest.raises(store.CheckpointMissing):
        store.load(uuid.uuid4(), 0)


def test_where_a_run_went_on_is_part_of_what_is_proven(make_run, worker):
    run = make_run()
    worker(run)
    assert list(Checkpoint.objects.filter(run=run).order_by("seq").values_list("next_step", flat=True)) == [
        "one",
        "two",
        "three",
        "end",
    ]
    Checkpoint.objects.filter(run=run, seq=1).update(next_step="three")
    assert [one.seq for one in verifying.verify(Run.objects.get(pk=run.pk)).breaks] == [1]


def test_a_step_that_grows_its_state_in_a_worker_is_read_back_the_same(make_run, worker):
    script["grow"] = lambda state: {"document": words(3000), "facts": {f"k{at}": "v" * 50 for at in range(100)}}
    run = make_run("t-big")
    worker(run)
    loaded = store.load(run.pk, 1)
    assert (loaded.values["document"], len(loaded.values["facts"])) == (words(3000), 100)
    assert Checkpoint.objects.get(run=run, seq=1).changed()["document"]["size"] > 3000


def test_the_command_names_run_and_seq(history, capsys):
    run, more = history()
    more(n=1)
    connection.check_constraints()  # what a commit would do: the audit is linked then
    call_command("verify_history")
    assert "Sound: 1 run, 2 entries" in capsys.readouterr().out
    flip(Checkpoint.objects.get(run=run, seq=1), "delta")
    with pytest.raises(CommandError, match="1 broken of 1 run"):
        call_command("verify_history", run=str(run.pk))
    assert f"run {run.pk} seq 1: its content does not match its hash" in capsys.readouterr().out
    with pytest.raises(CommandError, match="the id of a run was expected"):
        call_command("verify_history", run="nonsense")
