"""Differences between states: exact as a JSON Patch, readable as a page, quick at any size."""

import time
from typing import Any

import jsonpatch
import pytest
from hypothesis import given, settings

from checkpoints import comparing, text_diff, tree
from tests.test_store import JSON
from workflows import codec
from workflows.masking import MASK, Sealed


def operations(old: Any, new: Any) -> list[dict[str, Any]]:
    return [one.as_operation() for one in comparing.differences(old, new)]


@given(old=JSON, new=JSON)
@settings(max_examples=200, deadline=None)
def test_applying_the_patch_makes_the_one_of_the_other(old, new):
    """As another implementation of RFC 6902 applies it."""
    for a, b in (
        ({"x": old}, {"x": new}),
        ({"x": [old, new, old]}, {"x": [new, old, old, new]}),
        ({"a/b~": old, "": 1}, {"a/b~": new}),
    ):
        assert codec.same(_sorted(jsonpatch.apply_patch(a, operations(a, b))), _sorted(b))


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return [_sorted(item) for item in value] if isinstance(value, list) else value


def test_items_of_a_list_are_aligned():
    old = [{"role": "user", "content": str(at)} for at in range(50)]
    new = [*old[:10], {"role": "system", "content": "new"}, *old[10:30], *old[31:]]
    assert operations(old, new) == [
        {"op": "add", "path": "/10", "value": {"role": "system", "content": "new"}},
        {"op": "remove", "path": "/31"},
    ]
    changed = [*old[:20], {"role": "user", "content": "other"}, *old[21:]]
    assert operations(old, changed) == [{"op": "replace", "path": "/20/content", "value": "other"}]


def test_true_is_not_one_and_one_is_not_1_0():
    assert operations({"a": 1, "b": 1}, {"a": True, "b": 1.0}) == [
        {"op": "replace", "path": "/a", "value": True}, {"op": "replace", "path": "/b", "value": 1.0}
    ]  # fmt: skip


def test_secrets_are_compared_by_their_tokens_and_shown_masked():
    old = {"token": Sealed("a"), "same": Sealed("s"), "gone": Sealed("x"), "n": 1}
    new = {"token": Sealed("b"), "same": Sealed("s"), "gone": "", "n": 2}
    found = [one.as_operation() for one in comparing.of_states(old, new)]
    assert found == [
        {"op": "replace", "path": "/gone", "value": ""},
        {"op": "replace", "path": "/token", "value": MASK},
        {"op": "replace", "path": "/n", "value": 2},
    ]


def test_long_lists_and_texts_that_have_nothing_in_common_are_not_aligned_for_ever():
    began = time.monotonic()
    found = operations({"x": [str(at) for at in range(20_000)]}, {"x": [str(-at) for at in range(1, 20_001)]})
    pieces = text_diff.segments("a b " * 200_000, "c d " * 200_000)
    assert len(found) == 20_000 and [one.how for one in pieces] == ["out", "in"]
    assert time.monotonic() - began < 20  # it would be hours


def test_a_texts_difference_shows_the_words_and_a_little_around_them():
    old = "one two three. " + "same words again and again. " * 40 + "the end"
    new = old.replace("two", "2").replace("the end", "an end")
    found = text_diff.segments(old, new)
    assert [(one.how, one.text) for one in found if one.how != "same"] == [
        ("out", "two"),
        ("in", "2"),
        ("out", "the"),
        ("in", "an"),
    ]
    assert sum(one.left_out for one in found) > 500
    assert "".join(one.text for one in text_diff.segments("a\nb\n", "a\nc\n") if one.how != "out") == "a\nc\n"


def test_a_pointer_goes_both_ways():
    for path in ((), ("a",), ("a/b", "~c", 0), ("",)):
        assert comparing.parts(comparing.pointer(path)) == [str(part) for part in path]
    with pytest.raises(ValueError):
        comparing.parts("no slash")


STATE = {"n": 1, "deep": {"list": [{"x": at} for at in range(200)], "é": "ü" * 300, "none": None}, "token": MASK, "tiny": []}


def test_a_tree_opens_what_is_small_and_leaves_the_rest_to_be_fetched():
    n, deep, token, tiny = tree.of_state(STATE, frozenset({"n"}))
    assert (n.kind, n.changed, token.secret, tiny.kind, tiny.size) == ("number", True, True, "list", 0)
    inner = {node.name: node for node in deep.children}
    assert inner["list"].children is None and inner["é"].is_long and inner["none"].kind == "empty"
    page = tree.at(STATE, "/deep/list", after=50)
    assert ([page.children[0].name, page.children[-1].name], page.more) == (["50", "99"], 100)
    assert page.children[0].spelled == "deep.list[50]" and page.children[0].pointer == "/deep/list/50"
    assert tree.at(STATE, "/deep/list", after=150).more is None


@pytest.mark.parametrize("path", ["/nothing", "/n/deeper", "/deep/list/9999", "/deep/list/-1", "/deep/list/x", "no slash"])
def test_a_path_that_leads_nowhere_is_no_error_of_ours(path):
    with pytest.raises(tree.PathMissing):
        tree.at(STATE, path)


def test_a_search_finds_keys_and_values():
    assert [node.spelled for node in tree.search(STATE, "LIST")[0]] == ["deep.list"]
    assert [node.spelled for node in tree.search(STATE, "199")[0]] == ["deep.list[199]", "deep.list[199].x"]
    found, more = tree.search({"x": ["hit"] * 500}, "hit")
    assert (len(found), more) == (tree.FOUND, True)
