"""The tutorial's code is run as it stands."""

import re
from pathlib import Path
from typing import Any

import pytest

from workflows import registry

PAGE = Path(__file__).resolve().parent.parent / "docs" / "writing-workflows.md"


@pytest.fixture(scope="module")
def tutorial():
    """One module of all blocks, in order; lines keep their numbers, so that a traceback points into the page."""
    source = []
    inside = False
    for line in PAGE.read_text().splitlines():
        fence = line.startswith("```")
        inside = line == "```python" if fence and not inside else inside and not fence
        source.append("" if fence or not inside else line)
    names: dict[str, Any] = {"__name__": "tutorial"}
    exec(compile("\n".join(source), str(PAGE), "exec"), names)
    registry.finish()
    yield names
    for name in [name for name in registry._versions if name.startswith("tutorial-")]:
        registry.forget(name)


@pytest.mark.parametrize("name", re.findall(r"^def (test_\w+)", PAGE.read_text(), re.M))
def test_the_tutorial(tutorial, name):
    tutorial[name]()


def test_there_is_something_to_test():
    assert len(re.findall(r"^def test_", PAGE.read_text(), re.M)) >= 6
