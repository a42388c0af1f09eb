"""Updates are joined, validated and stored as strict JSON."""

import uuid
from typing import Annotated

import pytest
from pydantic import BaseModel, Field, field_validator

from checkpoints import blob, packing, store
from workflows import Add, Append, Merge, Replace, Secret, State, codec, masking
from workflows import state as states


class Item(BaseModel):
    name: str


class Full(State):
    n: int = 0
    ratio: float = 0.0
    total: Annotated[int, Add] = 0
    log: Annotated[list[str], Append] = []
    seen: Annotated[dict[str, int], Merge] = {}
    top: Annotated[int, max] = 0
    items: list[Item] = []
    small: Annotated[int, Field(le=10)] = 0
    token: Annotated[str | None, Secret] = None


def change(updates, **given):
    state = Full.parse(given)
    return states.apply(state, states.plain(state), updates)


def test_each_reducer_joins_in_its_way():
    done = change({"n": 5, "total": 2, "log": ["b"], "seen": {"y": 2}, "top": 3}, total=1, log=["a"], seen={"x": 1}, top=9)
    assert done.values | {"items": []} == {
        "n": 5, "ratio": 0.0, "total": 3, "log": ["a", "b"], "seen": {"x": 1, "y": 2}, "top": 9, "items": [],
        "small": 0, "token": None,
    }  # fmt: skip
    assert done.delta == {"set": {"n": 5, "total": 3, "seen": {"x": 1, "y": 2}}, "append": {"log": ["b"]}}


def test_replace_overrides_the_reducer():
    assert change({"log": Replace(["only"])}, log=["a", "b"]).delta == {"set": {"log": ["only"]}}


def test_what_did_not_change_is_not_stored():
    assert change({"n": 3, "log": []}, n=3).delta == {}


@pytest.mark.parametrize(
    ("updates", "field"),
    [
        ({"zzz": 1}, "zzz"),
        ({"n": "many"}, "n"),
        ({"log": "text"}, "log"),
        ({"items": [{"name": 1}]}, "items.0.name"),
        ({"small": 11}, "small"),
        ({"ratio": float("nan")}, "ratio"),
        ({"ratio": float("inf")}, "ratio"),
        ({"log": ["a\0b"]}, "log"),
        ({"log": ["\ud800"]}, "log"),
    ],
)
def test_what_the_schema_or_json_refuses_names_the_field(updates, field):
    with pytest.raises(states.StateInvalid) as caught:
        change(updates)
    assert field in caught.value.errors


def test_a_schema_with_validators_of_its_own_is_asked():
    class Checked(State):
        n: int = 0

        @field_validator("n")
        @classmethod
        def even(cls, value: int) -> int:
            if value % 2:
                raise ValueError("odd")
            return value

    state = Checked.parse({})
    with pytest.raises(states.StateInvalid, match="odd"):
        states.apply(state, states.plain(state), {"n": 3})


def test_a_state_cannot_be_changed_in_place():
    with pytest.raises(ValueError, match="frozen"):
        Full.parse({}).n = 3


def test_secrets_are_masked():
    assert masking.masked(Full, {"n": 1, "token": "abc"}) == {"n": 1, "token": masking.MASK}


@pytest.mark.parametrize("value", [{"a": [1, "ü", None, True, 1.5, "🦀"]}, {"big": "x" * 5000}, {"n": 2**80}])
def test_a_value_comes_back_as_it_went(value):
    assert blob.unpack(blob.pack(value)) == value


def test_bytes_that_pack_did_not_make_are_refused():
    for data in (b"", b"\x07{}", b"\x01notzstd", b"\x00{", b'\x00{"a":NaN}'):
        with pytest.raises(ValueError):
            blob.unpack(data)


def test_replay_makes_the_state_again():
    state: State = Full.parse({})
    values = states.plain(state)
    stored = [(0, packing.read({"set": values}))]
    for number in range(1, 51):
        done = states.apply(state, values, {"n": number, "log": [str(number)], "total": 1})
        state, values = done.state, done.values
        stored.append((number, packing.read(codec.loads(codec.dumps(done.delta)))))
    assert store.folded(uuid.uuid4(), stored) == values
