"""A whole Holdfast as ``make up`` starts it, on a port and in a folder of its own, for what crosses processes."""

import hashlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psycopg

ROOT = Path(__file__).resolve().parent.parent


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


HOLDERS = """
SELECT worker FROM runs_run WHERE id = %s AND worker IS NOT NULL
UNION ALL SELECT worker FROM runs_branch WHERE run_id = %s AND worker IS NOT NULL
"""


TOKEN = "INSERT INTO holdfast_apitoken (user_id, digest, name) SELECT id, %s, '' FROM auth_user WHERE username = %s"


class Stack:
    def __init__(self, folder: Path | None = None, **environment: str) -> None:
        self.folder = folder or Path(tempfile.mkdtemp(prefix="holdfast-stack-"))
        self.folder.chmod(0o711)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        kept = {k: v for k, v in os.environ.items() if not k.startswith("HOLDFAST_") and k != "DJANGO_SETTINGS_MODULE"}
        self.environment = {
            **kept,
            "HOLDFAST_DATA_DIR": str(self.folder),
            "HOLDFAST_PORT": str(self.port),
            "PYTHONPATH": str(ROOT / "tests" / "outside"),
            **environment,
        }
        self.log = self.folder / "up.log"
        self.tokens: dict[str, str] = {}
        self.clients: dict[str, httpx.Client] = {}
        self.sessions: dict[str, dict[str, str]] = {}
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, wait: bool = True) -> "Stack":
        command = [sys.executable, "manage.py", "up", "--demo"]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, cwd=ROOT, env=self.environment, stdout=log, stderr=log)
        end = time.monotonic() + 90
        while wait and "Holdfast is ready at" not in self.output():
            assert self.process.poll() is None and time.monotonic() < end, self.output()[-4000:]
            time.sleep(0.1)
        return self

    def stop(self, number: signal.Signals = signal.SIGTERM) -> float:
        """Stop it; how many seconds that took."""
        assert self.process is not None
        self.close_clients()
        began = time.monotonic()
        self.process.send_signal(number)
        self.process.wait(30)
        return time.monotonic() - began

    def close_clients(self) -> None:
        for client in self.clients.values():
            client.close()

    def output(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def manage(self, *words: str) -> str:
        done = subprocess.run(
            [sys.executable, "manage.py", *words], cwd=ROOT, env=self.environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def token(self, name: str) -> str:
        """The first by the command that people use; the others by its row, for each command takes two seconds."""
        if not self.tokens:
            self.tokens[name] = self.manage("create_token", name).split()[-1]
        elif name not in self.tokens:
            self.tokens[name] = f"hf_{secrets.token_urlsafe(32)}"
            digest = hashlib.sha256(self.tokens[name].encode()).hexdigest()
            with self.database() as connection:
                connection.execute(TOKEN, [digest, name])
        return self.tokens[name]

    def api(self, name: str) -> httpx.Client:
        if name not in self.clients:
            headers = {"Authorization": f"Bearer {self.token(name)}"}
            self.clients[name] = httpx.Client(base_url=self.url, headers=headers, timeout=70)
        return self.clients[name]

    def session(self, name: str) -> dict[str, str]:
        """The cookies of somebody who has signed in: those of the last time while they are good, for hashing takes its time."""
        known = self.sessions.get(name, {})
        if httpx.get(f"{self.url}/api/me", cookies=known).status_code != 200:
            with httpx.Client(base_url=self.url, headers={"Referer": self.url}) as client:
                client.get("/sign-in/")
                token = next(value for key, value in client.cookies.items() if "csrf" in key)
                given = {"username": name, "password": self.password, "csrfmiddlewaretoken": token}
                assert client.post("/sign-in/", data=given).status_code == 302
                self.sessions[name] = dict(client.cookies)
        return self.sessions[name]

    @property
    def password(self) -> str:
        return (self.folder / "demo-password").read_text()

    @property
    def sandbox(self) -> str:
        line = next(line for line in self.output().splitlines() if "sandbox service is at" in line)
        return line.split()[-1]

    def database(self) -> psycopg.Connection[Any]:
        return psycopg.connect(self.database_url(), autocommit=True)

    def database_url(self, name: str = "holdfast") -> str:
        from holdfast.embedded import Home

        return Home(self.folder).database_url.replace("@/holdfast?", f"@/{name}?")

    def worker_process(self, run_id: str) -> int:
        """The pid of a pool child that holds the run's lease, or a branch's: it says so on its Unix socket's other end."""
        with self.database() as connection:
            row = connection.execute(HOLDERS, [run_id, run_id]).fetchone()
            assert row is not None
            wanted = connection.execute(
                "SELECT a.application_name FROM pg_locks l JOIN pg_stat_activity a USING (pid) "
                "WHERE l.locktype = 'advisory' AND ((l.classid::bigint << 32) | l.objid::bigint) = %s", [row[0]]
            ).fetchone()  # fmt: skip
        assert wanted is not None
        return int(wanted[0].split()[-1])

    def worker_of(self, child: int) -> int:
        """The pid of the worker whose pool child this is."""
        status = Path(f"/proc/{child}/status").read_text()
        return int(status.partition("PPid:")[2].split()[0])

    @contextmanager
    def frozen(self, word: str) -> Iterator[None]:
        """Stop (SIGSTOP) the processes of this stack with ``word`` on their command line, and let them go on."""
        pids = [pid for pid, command in processes_of(self.folder).items() if f" {word}" in command]
        assert pids
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)

    def finish(self, run: str, client: httpx.Client, seconds: int = 60) -> dict[str, Any]:
        found: dict[str, Any] = client.get(f"/api/runs/{run}", params={"wait": seconds}).json()
        return found

    def decide(self, run: str, by: httpx.Client, verdict: str = "approve", **more: Any) -> httpx.Response:
        """Decide the run's first open gate with what is to be seen now."""
        waiting = self.finish(run, by)
        gate = by.get(f"/api/gates/{waiting['gates'][0]['id']}").json()
        body = {"verdict": verdict, "version": gate["version"], "proposal_hash": gate["proposal_hash"], **more}
        return by.post(f"/api/gates/{gate['id']}/decisions", json=body)


def processes_of(folder: Path) -> dict[int, str]:
    """Every process that was started for this data folder: its pid and command line."""
    mark = f"HOLDFAST_DATA_DIR={folder}".encode()
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            command = (entry / "cmdline").read_bytes()
            if mark in (entry / "environ").read_bytes().split(b"\0") or str(folder).encode() in command:
                found[int(entry.name)] = command.replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
    return found
