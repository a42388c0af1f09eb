"""``manage.py up``: starts from nothing, says what is in its way, and leaves nothing behind."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from holdfast import embedded
from tests.stack import Stack, processes_of

GRACES = 1.2 + 1.6 + 0.6 + 0.5 + 1.5  # s that web, workers, sweeper, Redis and PostgreSQL have before they are killed (up.py)


def ended(folder: Path, seconds: float = 3.0) -> dict[int, str]:
    """What is still running for this folder, given a moment for the kernel to reap."""
    end = time.monotonic() + seconds
    while (left := processes_of(folder)) and time.monotonic() < end:
        time.sleep(0.05)
    return left


def test_it_stops_cleanly_starts_again_and_keeps_what_was(tmp_path_factory):
    first = Stack(HOLDFAST_WORKERS="1", HOLDFAST_SLOTS="2").start()
    alice = first.api("alice")
    run = alice.post("/api/runs", json={"workflow": "refund", "input": {"order": "U-1", "amount": 400}}).json()["id"]
    assert first.finish(run, alice)["status"] == "waiting"
    took = first.stop(signal.SIGINT)
    assert took < GRACES + 2  # which is what it takes to see that each group has ended
    assert ended(first.folder) == {}

    again = Stack(first.folder, HOLDFAST_WORKERS="1", HOLDFAST_SLOTS="2").start()
    assert again.api("alice").get(f"/api/runs/{run}").json()["status"] == "waiting"
    clash = Stack(first.folder).start(wait=False)
    assert clash.process is not None
    assert clash.process.wait(20) != 0

    # a second one on the folder, and one on the port
    assert again.decide(run, again.api("bob")).status_code == 201
    assert again.finish(run, again.api("alice"))["status"] == "succeeded"
    assert again.process is not None
    again.close_clients()
    again.process.kill()  # nothing of a killed supervisor stays behind, and its lock does not stop the next one
    again.process.wait()
    left = ended(first.folder, 8)
    assert left == {}


def run_up(**environment: str) -> subprocess.CompletedProcess[str]:
    stack = Stack(**environment)
    return subprocess.run(
        [sys.executable, "manage.py", "up"],
        cwd=Path(__file__).parent.parent, env=stack.environment, capture_output=True, text=True, timeout=60,
    )  # fmt: skip


def test_a_taken_port_is_said_in_words():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = run_up(HOLDFAST_PORT=port)
    assert done.returncode != 0
    assert f"Port {port}" in done.stderr
    assert "HOLDFAST_PORT" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_folder_that_is_no_cluster_is_said_in_words():
    stack = Stack()
    home = embedded.Home(stack.folder)
    home.make()
    (home.pg_data / "something").write_text("else")
    done = run_up(HOLDFAST_DATA_DIR=str(stack.folder))
    assert "holds no PostgreSQL cluster" in done.stderr


def test_no_permission_outside_our_own_folders_changes(tmp_path):
    private = tmp_path / "home"
    private.mkdir(mode=0o700)
    before = [(folder, folder.stat().st_mode) for folder in (private, *private.parents)]
    users = Path("/etc/passwd").read_bytes()
    home = embedded.Home(private / "data")
    home.make()
    embedded.prepare_postgres(home)
    as_root = os.geteuid() == 0
    assert home.server_dir.parent == (Path("/var/lib/holdfast") if as_root else private)
    assert [(folder, folder.stat().st_mode) for folder, _ in before] == before
    assert Path("/etc/passwd").read_bytes() == users
    subprocess.run(["rm", "-rf", str(home.server_dir)], check=True)


def test_a_stale_lock_is_removed_and_a_living_orphan_is_named():
    home = embedded.Home(Stack().folder)
    home.make()
    lock = home.pg_data / "postmaster.pid"
    lock.write_text(f"{os.getpid()}\n")
    assert embedded.orphan_postgres(home) is None
    assert not lock.exists()
    orphan = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(30)", "-D", str(home.pg_data)])
    try:
        time.sleep(0.2)
        lock.write_text(f"{orphan.pid}\n")
        assert embedded.orphan_postgres(home) == orphan.pid
    finally:
        orphan.kill()
        orphan.wait()


def test_a_path_too_long_for_a_socket_gets_a_short_one(tmp_path):
    home = embedded.Home(tmp_path / ("x" * 120))
    assert len(str(home.run_dir / embedded.PG_SOCKET)) <= embedded.SOCKET_PATH_LIMIT


@pytest.mark.django_db
def test_a_password_that_begins_with_a_dash_is_a_password(tmp_path, settings):
    from django.contrib.auth.models import User

    from holdfast.management.commands.up import Command

    settings.HOLDFAST_DATA_DIR = str(tmp_path)
    (tmp_path / "demo-password").write_text("-dash-password")
    Command()._demo_users()
    assert User.objects.get(username="alice").check_password("-dash-password")
