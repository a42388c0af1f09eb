# /// script
# requires-python = ">=3.9"
# dependencies = ["cryptography"]
# ///
"""Prove a Holdfast receipt, without Holdfast:  python verify_receipt.py receipt.json --key KEY [--audit audit.jsonl]

KEY is the public key of the Holdfast that made it, as its admin has told you (GET /api/receipts/key). With an exported audit
the receipt's decision is looked for in it, too. Exit code 0: everything is as it was signed.
"""

from __future__ import annotations

import argparse
import base64
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


def canonical(document: dict[str, Any]) -> bytes:
    """What is signed: the JSON of all members but the signature, keys in order, no spaces, UTF-8."""
    plain = {name: value for name, value in document.items() if name != "signature"}
    return json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def flaws(receipt: dict[str, Any], key: str | None, audit: str | None) -> Iterator[str]:
    if receipt.get("format") != "holdfast-receipt" or receipt.get("version") != 1:
        yield "it is no receipt of a format that is known here"
        return
    if key and key != receipt["public_key"]:
        yield "it was signed with another key than the one that you have given"
    try:
        public = Ed25519PublicKey.from_public_bytes(base64.b64decode(receipt["public_key"]))
        public.verify(base64.b64decode(receipt["signature"]), canonical(receipt))
    except (InvalidSignature, ValueError, KeyError):
        yield "its content is not what was signed"
    if audit and receipt["audit"] is not None:
        wanted, found = receipt["audit"], None
        for line in Path(audit).read_text(encoding="utf-8").splitlines():
            act = json.loads(line)
            found = act if act["seq"] == wanted["seq"] else found
        if found is None or found["digest"] != wanted["digest"]:
            yield f"the audit's act {wanted['seq']} is not that of the receipt"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("receipt")
    parser.add_argument("--key", help="the public key, base64")
    parser.add_argument("--audit", help="an exported audit, JSON lines")
    given = parser.parse_args()
    try:
        receipt = json.loads(Path(given.receipt).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        print(f"NOT PROVEN: {given.receipt} cannot be read: {error}")
        return 1
    found = list(flaws(receipt, given.key, given.audit))
    for flaw in found:
        print(f"NOT PROVEN: {flaw}")
    if found:
        return 1
    decision, run = receipt["decision"], receipt["run"]
    print(f"Proven: {decision['by']} gave “{decision['verdict']}” at {decision['at']} by {decision['channel']},")
    print(f"at gate {receipt['gate']['id']} of run {run['id']} ({run['workflow']}).")
    for effect in receipt["effects"]:
        print(
            f"{effect['step']}: "
            + (f"happened at {effect['at']}, seq {effect['seq']}" if effect["happened"] else "not happened yet")
        )
    if given.audit:
        act = receipt["audit"]
        print(
            f"Found in the audit, seq {act['seq']}."
            if act
            else "The policy decided: that is no act of a person, and in no audit."
        )
    if not given.key:
        print("The key was taken from the receipt itself: give --key to know that it is your Holdfast's.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
