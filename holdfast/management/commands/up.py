"""``manage.py up``: everything that Holdfast needs, in one terminal."""

import fcntl
import os
import secrets
import signal
import socket
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import psycopg
import redis
from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser

from holdfast import embedded
from holdfast.supervisor import Child, Supervisor, python

CONTROL_SLOTS = 2  # messages that are sent at one time: a slow receiver holds up one of them
START_LIMIT = 60.0  # seconds that a server may take to come up


class Command(BaseCommand):
    help = "Serve Holdfast: web, run workers, a control worker, the sweeper, and the servers that no URL names."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--demo", action="store_true", help="with example workflows, users and a sandbox service")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["demo"] and not settings.HOLDFAST_DEMO:
            os.environ["HOLDFAST_DEMO"] = "1"
            os.execv(sys.executable, python(*sys.argv))  # the demo app has to be installed from the start
        self.supervisor = Supervisor(self._say)
        self.groups: dict[str, list[Child]] = {name: [] for name in ("web", "work", "sweep", "redis", "postgres")}
        self.supervisor.handle_signals()
        lock = self._lock()
        try:
            self._up(demo=options["demo"])
        except embedded.ServerUnavailable as error:
            raise CommandError(str(error)) from None
        finally:
            self._down()
            lock.close()

    def _up(self, *, demo: bool) -> None:
        self._check_port()
        for left in settings.HOLDFAST_METRICS_DIR.glob("*.db"):  # counters of processes that are no more
            left.unlink()
        settings.HOLDFAST_HOME.make()
        if not os.environ.get("DATABASE_URL"):
            self._start_postgres()
        if not os.environ.get("REDIS_URL"):
            self._start_redis()
        if self.supervisor.stopping:
            return
        call_command("migrate", verbosity=0, interactive=False)
        sign_in = self._demo_users() if demo else "sign in as a user made with “manage.py createsuperuser”"
        if demo:
            self._start_sandbox()
            self._start_mailbox()
        web = self._start_children()
        address = f"http://127.0.0.1:{settings.HOLDFAST_PORT}"
        if self.supervisor.until(_Every(0.2, lambda: _answers(address + "/readyz")), seconds=START_LIMIT, child=web):
            self._say(f"Holdfast is ready at {address}")
            self._say(sign_in)
        elif not self.supervisor.stopping:
            raise CommandError("Holdfast did not become ready; the lines above say why.")
        self.supervisor.run()

    def _down(self) -> None:
        began = time.monotonic()
        groups = list(self.groups.values())
        if any(groups):
            self._say("stopping …")
        self.supervisor.stop_all(groups)
        if any(groups):
            self._say(f"stopped in {time.monotonic() - began:.1f} s")

    # -- servers

    def _start_postgres(self) -> None:
        home = settings.HOLDFAST_HOME
        orphan = embedded.orphan_postgres(home)
        if orphan is not None:
            self._say(f"an earlier Holdfast left PostgreSQL (pid {orphan}) on {home.pg_data}; stopping it")
            _end_process(orphan)
        command = embedded.prepare_postgres(home)
        child = Child("postgres", command, signal.SIGINT, 1.5, options={"cwd": home.run_dir, **home.run_as()})
        self.groups["postgres"].append(self.supervisor.start(child))
        if not self.supervisor.until(_postgres_answers, seconds=START_LIMIT, child=child) and not self.supervisor.stopping:
            raise embedded.ServerUnavailable("PostgreSQL did not start; its own lines above say why.")
        if not self.supervisor.stopping:
            _create_database()

    def _start_redis(self) -> None:
        home = settings.HOLDFAST_HOME
        command = embedded.redis_command(home)
        child = Child("redis", command, signal.SIGTERM, 0.5, options={"cwd": home.run_dir, **home.run_as()})
        self.groups["redis"].append(self.supervisor.start(child))
        if not self.supervisor.until(_redis_answers, seconds=START_LIMIT, child=child) and not self.supervisor.stopping:
            raise embedded.ServerUnavailable("Redis did not start; its own lines above say why.")

    def _start_children(self) -> Child:
        start = self.supervisor.start
        port = str(settings.HOLDFAST_PORT)
        web_command = python(
            "-m", "uvicorn", "holdfast.asgi:application", "--host", "127.0.0.1", "--port", port, "--no-access-log",
            "--log-level", "warning", "--timeout-graceful-shutdown", "1", "--ws-max-size", "65536", "--lifespan", "off",
        )  # fmt: skip
        web = start(Child("web", web_command, grace=1.2, env={"HOLDFAST_ROLE": "web"}))
        self.groups["web"].append(web)
        for number in range(1, settings.HOLDFAST_WORKERS + 1):
            self.groups["work"].append(start(_celery(f"worker-{number}", "runs", settings.HOLDFAST_SLOTS)))
        self.groups["work"].append(start(_celery("control", "control", CONTROL_SLOTS)))
        sweeper = Child(
            "sweeper",
            python(str(settings.BASE_DIR / "manage.py"), "sweep"),
            grace=0.6,
            env={"HOLDFAST_ROLE": "sweeper"},
        )
        self.groups["sweep"].append(start(sweeper))
        return web

    # -- the demo

    def _demo_users(self) -> str:
        path = Path(settings.HOLDFAST_DATA_DIR) / "demo-password"
        if not path.exists():
            path.touch(mode=0o600)
            path.write_text(secrets.token_urlsafe(9))
        password = path.read_text()
        call_command("load_demo", f"--password={password}")  # in one word: it may begin with a dash
        return f"sign in as alice (operator), bob or erin (finance), carol (admin) or dave (viewer); password {password}"

    def _start_mailbox(self) -> None:
        """A mail server that keeps what it gets; only where none is set."""
        if os.environ.get("HOLDFAST_SMTP_URL"):
            return
        port = _free_port(settings.HOLDFAST_PORT + 2)
        os.environ["HOLDFAST_SMTP_URL"] = f"smtp://127.0.0.1:{port}"
        folder = str(Path(settings.HOLDFAST_DATA_DIR) / "mail")
        command = python("-m", "demo.mailbox", "--port", str(port), "--folder", folder)
        self.groups["work"].append(self.supervisor.start(Child("mailbox", command, grace=0.5)))
        self._say(f"messages to people are kept at http://127.0.0.1:{settings.HOLDFAST_PORT}/demo/mail/")

    def _start_sandbox(self) -> None:
        port = _free_port(settings.HOLDFAST_PORT + 1)
        os.environ.setdefault("HOLDFAST_SANDBOX_URL", f"http://127.0.0.1:{port}")
        folder = str(Path(settings.HOLDFAST_DATA_DIR) / "sandbox")
        command = python("-m", "demo.sandbox", "--port", str(port), "--folder", folder)
        self.groups["work"].append(self.supervisor.start(Child("sandbox", command, grace=0.5)))
        self._say(f"the sandbox service is at {os.environ['HOLDFAST_SANDBOX_URL']}")

    # -- what could be in the way

    def _lock(self) -> IO[str]:
        """One ``up`` a data folder; the lock goes with the process, however it ends."""
        folder = Path(settings.HOLDFAST_DATA_DIR)
        folder.mkdir(mode=0o711, parents=True, exist_ok=True)
        lock = (folder / "up.lock").open("a+")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise CommandError(
                f"Holdfast already runs on {folder} (pid {lock.read().strip() or 'unknown'}). "
                "Stop it first, or set HOLDFAST_DATA_DIR and HOLDFAST_PORT for a second copy."
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        return lock

    def _check_port(self) -> None:
        port = settings.HOLDFAST_PORT
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as error:
                raise CommandError(
                    f"Port {port} on 127.0.0.1 cannot be used ({error.strerror}). "
                    f"Set HOLDFAST_PORT to a free one, for instance: make up HOLDFAST_PORT={port + 10}"
                ) from None

    def _say(self, line: str) -> None:
        try:
            self.stdout.write(line)
            self.stdout.flush()
        except OSError:  # the terminal was closed
            self.supervisor.stopping = True


def _celery(name: str, queue: str, slots: int) -> Child:
    command = python(
        "-m", "celery", "-A", "holdfast.worker", "-q", "worker", "-Q", queue, "--pool", "prefork", "--concurrency", str(slots),
        "-n", f"{name}@%h", "-O", "fair", "--without-gossip", "--without-mingle", "--without-heartbeat",
        "--loglevel", "warning",
    )  # fmt: skip
    return Child(name, command, grace=settings.HOLDFAST_GRACE + 0.6, env={"HOLDFAST_ROLE": name})


def _postgres_answers() -> bool:
    try:
        psycopg.connect(_maintenance_url(), connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True


def _create_database() -> None:
    with psycopg.connect(_maintenance_url(), autocommit=True) as connection:
        if connection.execute("SELECT 1 FROM pg_database WHERE datname = 'holdfast'").fetchone() is None:
            connection.execute("CREATE DATABASE holdfast")


def _maintenance_url() -> str:
    return settings.HOLDFAST_HOME.database_url.replace("@/holdfast?", "@/postgres?")


def _redis_answers() -> bool:
    try:
        return bool(redis.Redis.from_url(settings.REDIS_URL, socket_timeout=0.5).ping())
    except (redis.RedisError, OSError):
        return False


class _Every:
    """A question that is asked at most every ``seconds``."""

    def __init__(self, seconds: float, question: Callable[[], bool]) -> None:
        self.seconds, self.question, self.asked = seconds, question, 0.0

    def __call__(self) -> bool:
        if time.monotonic() - self.asked < self.seconds:
            return False
        self.asked = time.monotonic()
        return self.question()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _free_port(wanted: int) -> int:
    for port in (wanted, 0):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return int(probe.getsockname()[1])
            except OSError:
                continue
    raise CommandError("No free port on 127.0.0.1.")


def _end_process(pid: int) -> None:
    """Stop an orphan: fast shutdown, then by force."""
    for number, patience in ((signal.SIGINT, 10.0), (signal.SIGKILL, 5.0)):
        os.kill(pid, number)
        end = time.monotonic() + patience
        while time.monotonic() < end:
            if not Path(f"/proc/{pid}").exists():
                return
            time.sleep(0.05)
