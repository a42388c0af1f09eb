"""Secret values at rest: encrypted with a key of their run's own, which the master key wraps.

AES-SIV (RFC 5297) gives the same value of a run the same token, so that a history can tell whether a secret changed without
opening it. Fernet wraps the data keys, for its MultiFernet rotates them: the first master key wraps, every one unwraps.
"""

import uuid
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections import OrderedDict
from collections.abc import Mapping
from functools import cache
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from django.conf import settings
from django.db import transaction

from checkpoints.models import DataKey
from workflows import codec
from workflows.errors import StateUnreadable
from workflows.masking import Sealed

KEY_BITS = 512
KEYS_KEPT = 1000  # unwrapped keys in memory
_keys: OrderedDict[uuid.UUID, AESSIV] = OrderedDict()


class SecretsLocked(StateUnreadable):
    """The run's secrets cannot be opened here."""


@cache
def master() -> MultiFernet:
    return MultiFernet([Fernet(key) for key in settings.HOLDFAST_MASTER_KEYS])


def seal(run_id: uuid.UUID, name: str, value: Any) -> str:
    """The token of one field's value. The run's first secret makes its key."""
    return urlsafe_b64encode(_key(run_id, make=True).encrypt(codec.dumps(value), [name.encode()])).decode()


def opened(run_id: uuid.UUID, values: Mapping[str, Any]) -> dict[str, Any]:
    """``values`` with what is sealed in them as it is. Raises SecretsLocked."""
    return {name: unseal(run_id, name, value) if isinstance(value, Sealed) else value for name, value in values.items()}


def unseal(run_id: uuid.UUID, name: str, sealed: Sealed) -> Any:
    """Raises SecretsLocked."""
    try:
        return codec.loads(_key(run_id).decrypt(urlsafe_b64decode(sealed.token), [name.encode()]))
    except (InvalidTag, ValueError):
        raise SecretsLocked(f"The secret field {name!r} of run {run_id} does not open with the run's key.") from None


def wrapped(text: str) -> str:
    """A text that is no run's, such as a channel's address, encrypted with the master key itself."""
    return master().encrypt(text.encode()).decode()


def unwrapped(token: str, whose: str) -> str:
    """Raises SecretsLocked."""
    try:
        return master().decrypt(token.encode()).decode()
    except InvalidToken:
        raise SecretsLocked(f"The secrets {whose} do not open with any of HOLDFAST_MASTER_KEY.") from None


def rewrapped(token: str) -> str:
    """The same, encrypted with the first master key. Raises InvalidToken."""
    return master().rotate(token.encode()).decode()


def rotate() -> int:
    """Wrap every data key anew with the first master key; no content is touched. How many there are."""
    count = 0
    for row in DataKey.objects.iterator():
        DataKey.objects.filter(pk=row.pk).update(wrapped=_rotated(row))
        count += 1
    return count


def forget(run_id: uuid.UUID) -> None:
    """Drop a key from memory; for tests that play another process."""
    _keys.pop(run_id, None)


def _rotated(row: DataKey) -> str:
    try:
        return rewrapped(row.wrapped)
    except InvalidToken:
        raise SecretsLocked(_wrong_master(row.run_id)) from None


def _key(run_id: uuid.UUID, *, make: bool = False) -> AESSIV:
    if run_id in _keys:
        _keys.move_to_end(run_id)
        return _keys[run_id]
    row = DataKey.objects.filter(run=run_id).first()
    if row is None and make:
        wrapped = master().encrypt(AESSIV.generate_key(KEY_BITS)).decode()
        DataKey.objects.bulk_create([DataKey(run_id=run_id, wrapped=wrapped)], ignore_conflicts=True)  # another may be first
        row = DataKey.objects.filter(run=run_id).first()
    if row is None:
        raise SecretsLocked(
            f"Run {run_id} has secret values, and its key is not here, as of a run that was imported. "
            f"Give these fields new values in a fork's changes."
        )
    try:
        key = AESSIV(master().decrypt(row.wrapped.encode()))
    except InvalidToken:
        raise SecretsLocked(_wrong_master(run_id)) from None
    transaction.on_commit(lambda: _keep(run_id, key))  # not one that was made in a transaction which is undone
    return key


def _keep(run_id: uuid.UUID, key: AESSIV) -> None:
    _keys[run_id] = key
    if len(_keys) > KEYS_KEPT:
        _keys.popitem(last=False)


def _wrong_master(run_id: uuid.UUID) -> str:
    return f"The key of run {run_id} does not open with any of HOLDFAST_MASTER_KEY: add the key that it was wrapped with."
