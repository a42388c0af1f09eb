"""The suite's own PostgreSQL and Redis, in a folder of their own; loaded before Django reads its settings."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

from holdfast.embedded import Home, prepare_postgres, redis_command

_started: list[tuple[subprocess.Popen[bytes], signal.Signals]] = []
_folder: Path | None = None


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    global _folder
    _folder = Path(tempfile.mkdtemp(prefix="holdfast-test-"))
    _folder.chmod(0o711)
    os.environ["HOLDFAST_DATA_DIR"] = str(_folder)
    os.environ["HOLDFAST_DEMO"] = "1"
    os.environ.setdefault("HOLDFAST_SECRET_KEY", "the suite's own key, which signs nothing that outlives it")
    os.environ.setdefault("HOLDFAST_SMTP_URL", "smtp://127.0.0.1:9")  # Django's tests keep mail in memory
    home = Home(_folder)
    home.make()
    if early_config.known_args_namespace.numprocesses and "PYTEST_XDIST_WORKER" not in os.environ:
        return  # xdist's workers have theirs, and it runs no test itself
    if not os.environ.get("DATABASE_URL"):
        # nothing here outlives the power supply: what is lost with the disk's cache is no test's subject
        start(home, [*prepare_postgres(home), "-c", "fsync=off"], signal.SIGINT)
        _wait_for_postgres(home)
    if not os.environ.get("REDIS_URL"):
        start(home, redis_command(home), signal.SIGTERM)


def pytest_unconfigure() -> None:
    for process, number in reversed(_started):
        process.send_signal(number)
        process.wait(10)
    _started.clear()
    if _folder is not None:
        shutil.rmtree(_folder, ignore_errors=True)


def start(home: Home, command: list[str], stop: signal.Signals) -> None:
    options: dict[str, Any] = {"cwd": home.run_dir, "start_new_session": True, **home.run_as()}
    quiet = subprocess.DEVNULL
    _started.append((subprocess.Popen(command, stdin=quiet, stdout=quiet, stderr=quiet, **options), stop))


def _wait_for_postgres(home: Home) -> None:
    import psycopg

    url = home.database_url.replace("@/holdfast?", "@/postgres?")
    end = time.monotonic() + 30
    while True:
        try:
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute("CREATE DATABASE holdfast")
                return
        except psycopg.OperationalError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)
