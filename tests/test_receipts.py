"""A decision's receipt: what was seen, who said what, what followed; and nobody can change a word of it unnoticed."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from django.db import connection
from django.test import Client

from approvals import receipts
from approvals.models import Decision
from runs.models import Run
from tests.conftest import drive

SCRIPT = Path(__file__).resolve().parent.parent / "static" / "verify_receipt.py"


@pytest.fixture
def paid(make_gate, answer, worker):
    """A decision whose effect has happened."""
    gate = make_gate()
    decision = answer(gate, "bob", "edit", args={"amount": 350}, comment="less will do")
    drive(worker, Run.objects.get(pk=gate.run_id))
    connection.check_constraints()
    return Decision.objects.select_related("gate__run", "holder").get(pk=decision.pk)


def proven(tmp_path, receipt, *words):
    path = tmp_path / "receipt.json"
    path.write_text(json.dumps(receipt, ensure_ascii=False, indent=1))
    return subprocess.run([sys.executable, str(SCRIPT), str(path), *words], capture_output=True, text=True)


def test_it_has_what_was_seen_said_and_done(paid):
    found = receipts.of(paid)
    assert found["seen"]["action"]["args"] == {"amount": 400} and found["seen"]["context"] == {"log": ["prepared"]}
    assert found["decision"]["by"] == "bob" and found["decision"]["verdict"] == "edit"
    assert found["changed"]["args"] == {"amount": 350}
    [effect] = found["effects"]
    assert effect["step"] == "pay" and effect["happened"] and effect["returned"] == {"answer": "less will do", "total": 350}
    assert len(effect["digest"]) == 64 and effect["idempotency_key"]
    assert found["audit"]["seq"] is not None and found["journal"][0]["detail"]["comment"] == "less will do"
    assert found["verify_with"].endswith("/static/verify_receipt.py")


def test_the_script_that_it_names_proves_it_offline(paid, tmp_path):
    receipt = receipts.of(paid)
    done = proven(tmp_path, receipt, "--key", receipts.public_key())
    assert done.returncode == 0 and "Proven: bob gave “edit”" in done.stdout and "pay: happened" in done.stdout
    assert "give --key" in proven(tmp_path, receipt).stdout


@pytest.mark.parametrize("path", [
    ("decision", "by"), ("decision", "at"), ("seen", "title"), ("seen", "action"), ("changed", "args"), ("audit", "digest"),
    ("effects",), ("journal",), ("run", "id"), ("made_at",),
])  # fmt: skip
def test_whatever_is_changed_in_it_is_found(paid, tmp_path, path):
    receipt = json.loads(json.dumps(receipts.of(paid)))
    place = receipt
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = "forged"
    done = proven(tmp_path, receipt)
    assert done.returncode == 1 and "NOT PROVEN: its content is not what was signed" in done.stdout


def test_a_forgers_own_key_is_found_out(paid, tmp_path):
    from base64 import b64encode

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    receipt = {name: value for name, value in receipts.of(paid).items() if name != "signature"}
    forger = Ed25519PrivateKey.generate()
    receipt["public_key"] = b64encode(forger.public_key().public_bytes_raw()).decode()
    receipt["decision"]["by"] = "erin"
    receipt["signature"] = b64encode(forger.sign(receipts.canonical(receipt))).decode()
    assert proven(tmp_path, receipt).returncode == 0  # by its own key
    done = proven(tmp_path, receipt, "--key", receipts.public_key())
    assert done.returncode == 1 and "another key" in done.stdout


def test_it_is_looked_for_in_an_exported_audit(paid, tmp_path, people):
    client = Client()
    client.force_login(people.carol)
    audit = tmp_path / "audit.jsonl"
    audit.write_bytes(b"".join(client.get("/api/audit/export")))
    receipt = receipts.of(paid)
    assert proven(tmp_path, receipt, "--audit", str(audit)).returncode == 0
    audit.write_text(audit.read_text().replace(receipt["audit"]["digest"], "0" * 64))
    assert proven(tmp_path, receipt, "--audit", str(audit)).returncode == 1


def test_whoever_may_see_the_gate_gets_it(paid, people, client):
    path = f"/gates/{paid.gate_id}/decisions/{paid.pk}/receipt/"
    assert client.get(path).status_code == 302
    for name, status in {"dave": 200, "bob": 200, "mallory": 404}.items():
        client.force_login(people[name])
        answer = client.get(path)
        assert answer.status_code == status
        assert client.get(f"/api/gates/{paid.gate_id}/decisions/{paid.pk}/receipt").status_code == status
    client.force_login(people.dave)
    assert "attachment" in client.get(path)["Content-Disposition"]
    assert client.get("/api/receipts/key").json() == {"public_key": receipts.public_key()}
    assert client.get(f"/gates/{paid.gate_id}/decisions/999/receipt/").status_code == 404


def test_an_effect_that_has_not_happened_is_said_to_have_not(make_gate, answer):
    decision = answer(make_gate(), "bob", "approve")
    assert [one["happened"] for one in receipts.of(decision)["effects"]] == [False]
    rejected = answer(make_gate(), "bob", "reject")
    assert receipts.of(rejected)["effects"] == []


def test_a_decision_of_the_policy_has_one_too(make_gate, at, tmp_path):
    from approvals.services import clock

    gate = make_gate()
    at("2 hours")
    clock.expire(gate.pk)
    found = receipts.of(Decision.objects.select_related("gate__run", "holder").get(gate=gate))
    assert found["decision"]["by"] == "policy" and found["audit"] is None
    (tmp_path / "audit.jsonl").write_text("")
    done = proven(tmp_path, found, "--audit", str(tmp_path / "audit.jsonl"))
    assert done.returncode == 0 and "The policy decided" in done.stdout
