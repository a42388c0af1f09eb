"""Races with real threads."""
from datetime import timedelta

import pytest

from approvals.models import Gate
from approvals.services import clock
from approvals.services import people as acts
from approvals.services.deciding import bypass, decide
from approvals.services.taking_back import take_back
from engine.services import controls
from runs.clock import Now
from runs.models import Run
from tests.conftest import kinds, together
from workflows import Policy, escalate

pytestmark = pytest.mark.django_db(transaction=True)


def test_everything_at_once(ask, people, worker):
    from collections import Counter
    seen = Counter()
    for turn in range(12):
        gate = ask(Policy(approvers=["group:finance", "user:carol"], quorum=2, timeout="1h", on_timeout=escalate(["role:admin"], timeout="1h")))
        first = decide(gate.pk, by=people.bob, verdict="approve", version=1, proposal_hash=gate.proposal_hash, channel="page")
        Gate.objects.filter(pk=gate.pk).update(due_at=Now() - timedelta(seconds=1))
        doings = [
            lambda: decide(gate.pk, by=people.erin, verdict="approve", version=1, proposal_hash=gate.proposal_hash, channel="page"),
            lambda: decide(gate.pk, by=people.carol, verdict="reject", version=1, proposal_hash=gate.proposal_hash, channel="page"),
            lambda: decide(gate.pk, by=people.erin, verdict="edit", args={"amount": 3}, version=1, proposal_hash=gate.proposal_hash, channel="page"),
            lambda: clock.expire(gate.pk),
            lambda: take_back(gate.pk, first.pk, by=people.bob),
            lambda: acts.delegate(gate.pk, by=people.carol, to="mallory"),
            lambda: controls.hold(gate.run_id, by=people.alice),
            lambda: bypass(gate.pk, by=people.carol, verdict="approve", reason="x", channel="page"),
            lambda: acts.claim(gate.pk, by=people.carol),
            lambda: controls.cancel(gate.run_id, by=people.alice) if turn % 3 == 0 else None,
        ]
        results = together(len(doings), lambda n: doings[n]())
        for one in results:
            if isinstance(one, Exception):
                seen[type(one).__name__] += 1
                assert type(one).__module__.split(".")[0] in ("approvals", "runs", "engine"), repr(one)
        run = Run.objects.get(pk=gate.run_id)
        gate.refresh_from_db()
        kinds(run)
        assert (gate.status == "open") == (not gate.outcome_verdict) or gate.status == "withdrawn"
        if gate.status == "open":
            votes = [d for d in gate.decisions.standing()]
            agree = sum(d.verdict in ("approve", "edit") for d in votes)
            assert agree < 2 and not any(d.verdict == "reject" for d in votes), (votes, run.status)
    print(seen)
