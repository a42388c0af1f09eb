"""The document's shape, and the proof that it is as it was written. Needs no database.

``{"format", "version", "run", "entries", "contents", "fan_outs", "gates", "manifest"}``. Every item carries ``sha256`` over its
own JSON (keys in order, no spaces, without that member); the manifest's is over all of these in order, so that none can be left
out. Entries are also the links of the run's own chain: ``digest = sha256(digest before ‖ seq as 8 bytes ‖ content hash)``.
"""

import hashlib
import json
from base64 import b64decode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from checkpoints import packing
from runs.models import Kind
from runs.services import journal

FORMAT, VERSION = "holdfast-run", 1
LISTS = ("entries", "contents", "fan_outs", "gates")


@dataclass(frozen=True)
class Flaw:
    """Something that is not as it was written. ``place``: ``run``, ``entries[3] (seq 3)``, ``manifest`` …"""

    place: str
    why: str


class DocumentInvalid(ValueError):
    """The document is none of ours, or was altered. ``flaws`` name the places."""

    def __init__(self, flaws: list[Flaw]) -> None:
        self.flaws = flaws
        super().__init__("; ".join(f"{one.place}: {one.why}" for one in flaws[:20]))


def seal(item: Mapping[str, Any]) -> dict[str, Any]:
    """The item with the hash over its JSON."""
    return {**item, "sha256": digest_of(item)}


def digest_of(item: Mapping[str, Any]) -> str:
    plain = {name: value for name, value in item.items() if name != "sha256"}
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def parsed(text: str | bytes) -> dict[str, Any]:
    """The document, proven. Raises DocumentInvalid."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DocumentInvalid([Flaw("document", f"it is no JSON: {error}")]) from None
    if flaws := list(verify(document)):
        raise DocumentInvalid(flaws)
    return dict(document)


def verify(document: Any) -> Iterator[Flaw]:
    """Every place that is not as it was written."""
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        yield Flaw("format", f"{FORMAT!r} was expected")
        return
    if document.get("version") != VERSION:
        yield Flaw("version", f"{VERSION} was expected, not {str(document.get('version'))[:50]!r}")
        return
    lists = {name: document.get(name) for name in LISTS}
    wrong = [name for name, items in lists.items() if not _is_list(items)]
    wrong += [name for name in ("run", "manifest") if not isinstance(document.get(name), dict)]
    if wrong:
        yield from (Flaw(name, "it is missing, or of another shape") for name in wrong)
        return
    yield from _sealed(document)
    yield from _chained(document)


def _is_list(items: Any) -> bool:
    return isinstance(items, list) and all(isinstance(item, dict) for item in items)


def _sealed(document: Mapping[str, Any]) -> Iterator[Flaw]:
    found = hashlib.sha256()
    items = [(f"{name}[{at}]", item) for name in LISTS for at, item in enumerate(document[name])]
    for place, item in [("run", document["run"]), *items]:
        wanted = digest_of(item)
        if item.get("sha256") != wanted:
            seq = f" (seq {item['seq']})" if place.startswith("entries") and "seq" in item else ""
            yield Flaw(place + seq, "its content does not match its sha256")
        found.update(str(item.get("sha256")).encode())
    if document["manifest"].get("sha256") != found.hexdigest():
        yield Flaw("manifest", "items were taken out, put in, or put in another order")


def _chained(document: Mapping[str, Any]) -> Iterator[Flaw]:
    """The run's own chain, as the database has it."""
    digest = b""
    for at, entry in enumerate(document["entries"]):
        place = f"entries[{at}] (seq {entry.get('seq')})"
        try:
            stored, content = bytes.fromhex(entry["digest"]), bytes.fromhex(entry["content_hash"])
            if entry["seq"] != at:
                yield Flaw(place, f"seq {at} was expected")
            elif journal.link(digest, at, content) != stored:
                yield Flaw(place, "its digest does not follow from the entries before it")
            wanted = content_hash(entry)
            if wanted is None and document["run"].get("pruned_at") is None:
                yield Flaw(place, "what it said is gone")
            if wanted is not None and wanted != content:
                yield Flaw(place, "its content does not match its hash")
            digest = stored
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            yield Flaw(place, f"it cannot be read: {type(error).__name__}: {error}")
            return
    run = document["run"]
    if run.get("seq") != len(document["entries"]) - 1 or run.get("digest") != digest.hex():
        yield Flaw("run", "its last entry is another")
    for at, piece in enumerate(document["contents"]):
        try:
            if hashlib.sha256(b64decode(piece["data"], validate=True)).hexdigest() != piece["hash"]:
                yield Flaw(f"contents[{at}]", "its data does not match its hash")
        except (KeyError, TypeError, ValueError) as error:
            yield Flaw(f"contents[{at}]", f"it cannot be read: {error}")


def content_hash(entry: Mapping[str, Any]) -> bytes | None:
    """What the entry's content hash has to be; None of a pruned one, of which nothing else is left."""
    if entry["kind"] != Kind.CHECKPOINT:
        if entry["detail"] is None:
            return None
        return journal.event_hash(entry["kind"], entry["step"], entry["attempt"], entry["by"], entry["detail"])
    if entry["delta"] is None:
        return None
    return packing.hash_of({**entry, "delta": data(entry["delta"]), "keyframe": data(entry["keyframe"])}, entry["usage"])


def data(text: str | None) -> bytes | None:
    """Raises ValueError for what is no base64."""
    return None if text is None else b64decode(text, validate=True)
