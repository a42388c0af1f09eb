"""mypy sees a step's state: an author's slip is found before the workflow runs."""

import re
from pathlib import Path

from mypy import api

ROOT = Path(__file__).resolve().parent.parent
SOURCE = """
from typing import Any
from workflows import Ctx, Goto, Happened, NotHappened, Proposal, State, Workflow

class Refund(State):
    amount: int

class Other(State):
    name: str

refund = Workflow("refund", state=Refund, version="1")

@refund.step
def plain(state: Refund) -> dict[str, Any]:
    return {"amount": state.amount + 1}

@refund.step(timeout=30)
async def later(state: Refund, ctx: Ctx) -> Goto | None:
    return None

@refund.gate(when=lambda state: state.amount > 3)
def ask(state: Refund) -> Proposal:
    return Proposal("?")

def find(state: Refund, ctx: Ctx) -> Happened | NotHappened:
    return NotHappened()

@refund.effect(verify=find)
def pay(state: Refund, ctx: Ctx) -> None:
    ctx.save({"sent": True})

@refund.step
def wrong_state(state: Other) -> None: ...  # E

@refund.step(retry=3)  # E
def wrong_option(state: Refund) -> None: ...

@refund.step
def wrong_result(state: Refund) -> int:  # E
    return 3

@refund.step
def wrong_field(state: Refund) -> dict[str, Any]:
    return {"amount": state.amuont}  # E

def needed(state: Other) -> bool:
    return True

@refund.gate(when=needed)  # E
def wrong_when(state: Refund) -> Proposal:
    return Proposal("?")

@refund.effect(verify=plain)  # E
def wrong_verify(state: Refund) -> None: ...
"""


def test_mypy_finds_an_authors_slips_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "authors.py"
    path.write_text(SOURCE)
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("MYPYPATH", str(ROOT))
    output, errors, _ = api.run(["--strict", "--config-file=", f"--cache-dir={tmp_path / 'cache'}", str(path)])
    assert not errors
    found = {int(line) for line in re.findall(r"authors\.py:(\d+): error", output)}
    expected = {number for number, line in enumerate(SOURCE.splitlines(), 1) if line.endswith("# E")}
    decorators = {number - 1 for number in expected}  # mypy names a decorated function's first line, or its decorator's
    assert expected <= found | {number + 1 for number in found}, output
    assert found <= expected | decorators, output
