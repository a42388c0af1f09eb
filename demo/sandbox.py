"""A service outside Holdfast, with the failure modes of real ones: a process of its own, a storage of its own.

Three APIs. ``/payments`` takes idempotency keys and answers trouble with structured errors. ``/crm`` takes none, may lose
a reply after it has written, and its reads may be stale. ``/letters`` takes none and cannot be asked. How often, the
caller says in headers: ``X-Fail`` (refused before anything is done), ``X-Lose`` (reply lost after the write), both from 0 to
1, ``X-Stale`` (seconds that a write stays invisible), and ``X-Late`` (seconds that a request is under way).
``GET /counts`` says what was really written: the truth that tests compare with.
"""

import argparse
import json
import os
import random
import threading
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlparse


class Storage:
    """An append-only file of records, and the same in memory."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / "records.jsonl"
        self.lock = threading.Lock()
        lines = self.path.read_text().splitlines() if self.path.exists() else []
        self.records: list[dict[str, Any]] = [json.loads(line) for line in lines]

    def add(self, record: dict[str, Any]) -> dict[str, Any]:
        record = {**record, "id": uuid.uuid4().hex[:12], "at": time.time()}
        with self.path.open("a") as file:
            file.write(json.dumps(record) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self.records.append(record)
        return record

    def find(self, kind: str, *, stale: float = 0.0, **wanted: str) -> list[dict[str, Any]]:
        seen_until = time.time() - stale
        return [
            record
            for record in self.records
            if record["kind"] == kind
            and record["at"] <= seen_until
            and all(record.get(name) == value for name, value in wanted.items())
        ]


KEYED = {"/payments/refunds": "refund", "/shop/orders": "order"}  # where the same idempotency key writes once


class Handler(BaseHTTPRequestHandler):
    storage: Storage
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # head and body leave in one packet

    def do_GET(self) -> None:
        url = urlparse(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        if url.path == "/counts":
            self.answer(200, self.counts())
        elif url.path == "/shop/orders":
            self.answer(200, {"items": self.storage.find("order", key=query.get("key", ""))})
        elif url.path == "/payments/refunds":
            self.answer(200, {"items": self.storage.find("refund", key=query.get("key", ""))})
        elif url.path == "/crm/contacts":
            stale = float(self.headers.get("X-Stale", "0"))
            self.answer(200, {"items": self.storage.find("contact", stale=stale, **query)})
        else:
            self.answer(404, {"error": "unknown address"})

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length) or b"{}")
        if self.unlucky("X-Fail"):
            self.answer(503, {"error": {"code": "overloaded", "retry_after": 0.2}}, {"Retry-After": "1"})
            return
        time.sleep(float(self.headers.get("X-Late", "0")))  # in flight: it lands whatever becomes of the caller
        with self.storage.lock:
            status, answer = self.write(urlparse(self.path).path, body)
        if status < 300 and self.unlucky("X-Lose"):
            self.close_connection = True  # written, and nobody hears of it
            return
        self.answer(status, answer)

    def write(self, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if path in KEYED:
            key, kind = self.headers.get("Idempotency-Key", ""), KEYED[path]
            known = self.storage.find(kind, key=key) if key else []
            if known:
                return 200, known[0]
            return 201, self.storage.add({"key": key, **body, "kind": kind})
        if path == "/payments/voids":
            known = self.storage.find("void", refund=body.get("refund", ""))
            return (200, known[0]) if known else (201, self.storage.add({**body, "kind": "void"}))
        if path == "/crm/contacts":
            return 201, self.storage.add({**body, "kind": "contact"})
        if path == "/letters":  # no key, no lookup
            return 201, self.storage.add({**body, "kind": "letter"})
        return 404, {"error": "unknown address"}

    def counts(self) -> dict[str, Any]:
        counts: dict[str, Any] = {"refund": {}, "void": {}, "contact": {}, "letter": {}, "order": {}}
        for record in list(self.storage.records):
            name = str(record.get("order") or record.get("refund") or record.get("email") or record.get("to"))
            counts[record["kind"]][name] = counts[record["kind"]].get(name, 0) + 1
        return counts

    def unlucky(self, header: str) -> bool:
        return random.random() < float(self.headers.get(header, "0"))

    def answer(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet: what was written is in the storage."""


def serve(port: int, folder: Path) -> ThreadingHTTPServer:
    """A server on 127.0.0.1, not yet running; ``port`` 0 takes a free one."""
    handler = type("SandboxHandler", (Handler,), {"storage": Storage(folder)})
    return ThreadingHTTPServer(("127.0.0.1", port), handler)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--folder", type=Path, required=True)
    options = parser.parse_args()
    serve(options.port, options.folder).serve_forever()
