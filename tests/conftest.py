"""People, runs and a worker to drive them."""

import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.conf import settings
from django.contrib.auth.models import Group, User
from django.contrib.contenttypes.management import create_contenttypes
from django.db import connection, connections, transaction
from django.db.models.signals import post_migrate
from django.test import override_settings
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

from approvals import tasks
from approvals.models import Gate
from approvals.notifying import delivering
from approvals.services.deciding import decide
from engine import advancing, lease
from engine.services import starting
from runs import bell
from runs.clock import offset_for_tests
from runs.models import Run
from tests import flows, gate_flows, history_flows, part_flows, trouble_flows
from tests.stack import Stack

assert gate_flows and history_flows and part_flows and trouble_flows  # imported to be registered

PEOPLE = {
    "alice": ["operator"],
    "bob": ["approver", "finance"],
    "erin": ["approver", "finance"],
    "carol": ["admin"],
    "dave": ["viewer"],
    "mallory": [],
}


class People(dict[str, User]):
    def __getattr__(self, name: str) -> User:
        return self[name]


@pytest.fixture
def people(db: None) -> People:
    """alice operates, bob and erin approve, carol administers, dave views, mallory is outside."""
    users = User.objects.bulk_create(User(username=name, email=f"{name}@example.com") for name in PEOPLE)
    names = sorted({group for groups in PEOPLE.values() for group in groups})
    Group.objects.bulk_create((Group(name=name) for name in names), ignore_conflicts=True)
    groups = {group.name: group for group in Group.objects.filter(name__in=names)}
    members = User.groups.through
    members.objects.bulk_create(
        members(user=user, group=groups[name]) for user in users for name in PEOPLE[user.get_username()]
    )  # fmt: skip
    return People({user.get_username(): user for user in users})


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: Any) -> None:
    """Tests that commit empty all tables afterwards, which the audit refuses; that it does has a test of its own.

    Nor are Django's own permissions, which nothing here asks for, made anew each time.
    """
    post_migrate.disconnect(dispatch_uid="django.contrib.auth.management.create_permissions")
    post_migrate.disconnect(create_contenttypes)
    with django_db_blocker.unblock(), connection.cursor() as cursor:
        cursor.execute("ALTER TABLE runs_auditentry DISABLE TRIGGER audit_keep_all")
        cursor.execute("ALTER TABLE runs_audithead DISABLE TRIGGER audit_go_on_all")


STATIC = "servestatic.middleware.ServeStaticMiddleware"


@pytest.fixture(scope="session", autouse=True)
def quick() -> Iterator[None]:
    """Passwords here protect nothing, and a test's client looks at no style sheet, for which each would read all folders."""
    kept = [name for name in settings.MIDDLEWARE if name != STATIC]
    with override_settings(PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"], MIDDLEWARE=kept):
        yield


@pytest.fixture(autouse=True)
def quiet_bells(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """In-process tests drive their worker themselves; the bells that would have been rung are kept."""
    rung: list[Any] = []
    monkeypatch.setattr(bell, "ring", lambda run_id=None: rung.append(run_id) or True)
    monkeypatch.setattr(bell, "tell", lambda: True)
    # a real lease's watcher would end this process with the test database (after monkeypatch.undo(), for instance)
    assert lease._lease is None, "a test before this one has taken a real lease"
    flows.calls.clear()
    flows.script.clear()
    return rung


def new_lease() -> tuple[int, psycopg.Connection[Any]]:
    """A lease like a worker's, on a connection that a test can close to play the worker's death."""
    parameters = {**connection.get_connection_params()}
    for name in ("cursor_factory", "context", "prepare_threshold"):
        parameters.pop(name, None)
    held: psycopg.Connection[Any] = psycopg.connect(**parameters, autocommit=True)
    key = uuid.uuid4().int >> 66
    held.execute("SELECT pg_advisory_lock(%s)", [key])
    return key, held


def die(held: psycopg.Connection[Any]) -> None:
    """Close a lease's connection and wait until the server has let go of its lock."""
    pid = held.info.backend_pid
    held.close()
    end = time.monotonic() + 5
    with connection.cursor() as cursor:
        while time.monotonic() < end:
            cursor.execute("SELECT FROM pg_locks WHERE locktype = 'advisory' AND pid = %s", [pid])
            if cursor.rowcount == 0:
                return
            time.sleep(0.002)
    raise AssertionError("the lease is still held")


@pytest.fixture
def worker(db: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., bool]]:
    """``worker(run)`` carries the run on as a run worker would, in this process; with nothing, whatever is due."""
    key, held = new_lease()
    monkeypatch.setattr(lease, "hold", lambda: key)
    yield lambda run=None: advancing.advance(run.pk if run is not None else None)
    held.close()


@pytest.fixture
def make_run(people: People) -> Callable[..., Run]:
    def make(workflow: str = "t-line", by: str = "alice", **given: Any) -> Run:
        return starting.start(workflow=workflow, input=given, by=people[by])[0]

    return make


@pytest.fixture
def make_gate(make_run: Callable[..., Run], worker: Callable[..., bool]) -> Callable[..., Gate]:
    """A run that waits at its gate."""

    def make(workflow: str = "t-gated", **given: Any) -> Gate:
        run = make_run(workflow, **({"amount": 400} | given))
        worker(run)
        return Gate.objects.filter(run=run).order_by("ordinal").first()  # type: ignore[return-value]

    return make


@pytest.fixture
def ask(make_run: Callable[..., Run], worker: Callable[..., bool]) -> Callable[..., Gate]:
    """``ask(Policy(…), …)``: a run that waits at a gate under each of these policies; its first gate."""

    def make(*policies: Any, **given: Any) -> Gate:
        flows.script["policy"] = list(policies)
        run = make_run("t-ruled", **given)
        worker(run)
        return run.gates.order_by("ordinal")[0]

    return make


@pytest.fixture
def at() -> Iterator[Callable[[str], None]]:
    """``at("3 hours")``: from now on the clock is so much later than it was at the beginning."""
    yield offset_for_tests
    offset_for_tests("")


@pytest.fixture
def answer(people: People) -> Callable[..., Any]:
    """``answer(gate, "bob", "approve")``: decide with what is to be seen now."""

    def take(gate: Gate, by: str, verdict: str, **more: Any) -> Any:
        gate.refresh_from_db()
        seen = {"version": gate.version, "proposal_hash": gate.proposal_hash, "channel": "api"}
        return decide(gate.pk, by=people[by], verdict=verdict, **{**seen, **more})

    return take


@pytest.fixture
def deliver(db: None, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Hand on and send what is due, as the control worker does."""
    monkeypatch.setattr(delivering, "_mail_rests_until", None)
    return tasks.deliver


def kinds(run: Run) -> list[str]:
    """The run's journal in short: ``["checkpoint", "checkpoint assess", …]``."""
    from runs import reading

    entries = reading.journal(Run.objects.get(pk=run.pk), limit=1000)
    assert [entry["seq"] for entry in entries] == list(range(len(entries)))
    return [f"{entry['kind']} {entry['step']}".strip() for entry in entries]


def join(user: User, *groups: str) -> None:
    """Put the user into these groups."""
    user.groups.add(*(Group.objects.get_or_create(name=group)[0] for group in groups))
    user.__dict__.pop("_holdfast_groups", None)


def drive(worker: Callable[..., bool], run: Run) -> Run:
    """Carry the run on until nothing of it is due; the run as it is then."""
    while worker(run):
        pass
    return Run.objects.get(pk=run.pk)


def together(count: int, act: Callable[[int], Any]) -> list[Any]:
    """Run ``act(0..count-1)`` in real threads that start at one moment; each result, or the exception."""
    barrier = threading.Barrier(count)
    results: list[Any] = [None] * count

    def work(number: int) -> None:
        barrier.wait()
        try:
            results[number] = act(number)
        except Exception as error:
            results[number] = error
        finally:
            connections.close_all()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


@contextmanager
def in_the_way(act: Callable[[], object]) -> Iterator[None]:
    """``act`` is done in another thread's transaction, which commits while what stands inside waits for its locks."""
    locked, done = threading.Event(), threading.Event()

    def work() -> None:
        with transaction.atomic():
            act()
            locked.set()
            done.wait(5)
        connections.close_all()

    thread = threading.Thread(target=work)
    thread.start()
    assert locked.wait(5)
    threading.Timer(0.3, done.set).start()
    yield
    thread.join()


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """One whole Holdfast for all tests that need real workers, sockets or a browser."""
    running = Stack(HOLDFAST_APPS="acme", HOLDFAST_SLOTS="2", HOLDFAST_UNDO="3").start()
    yield running
    running.stop()


# Files that need ``stack``: one worker has them all, so that it is started once.
WHOLE = ("test_browser", "test_every_page", "test_inbox", "test_operators_day", "test_reach_browser", "test_sockets",
         "test_whole")  # fmt: skip
LONGEST = (*WHOLE, "test_crash_matrix", "test_outages", "test_up", "test_life", "test_parts_life")


class Together(LoadScopeScheduling):
    """Files of tests stay together, and so do all of WHOLE."""

    def _split_scope(self, nodeid: str) -> str:
        file = Path(nodeid.partition("::")[0]).stem
        return "whole" if file in WHOLE else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Together:
    return Together(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest begins first: the workers then end at about the same time."""
    place = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path.stem, len(LONGEST)))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """The crash matrix: point × times × outcome."""
    told = [
        tuple(value)
        for report in terminalreporter.getreports("passed")
        for name, value in report.user_properties
        if name == "crash"
    ]
    if told:
        terminalreporter.write_sep("-", "crash matrix: point × times × outcome")
    for (point, outcome), times in Counter(told).items():
        terminalreporter.write_line(f"{point:<74} × {times:>3} × {outcome}, each effect once")
