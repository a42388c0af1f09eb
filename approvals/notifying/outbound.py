"""What is sent by request of an admin may not reach into one's own network.

The check stands where a socket connects or sends: after the name was resolved, after every redirect, and whichever library
does. Python raises ``socket.connect`` before it does (PEP 578); an exception there keeps the connection from being made. A
proxy of the environment is not used: behind it every address would look like its own.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Any

from django.conf import settings

SENDS = frozenset({"socket.connect", "socket.sendto", "socket.sendmsg"})
NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052: an IPv4 address in the last 32 bits
# What this Python's ``is_global`` may take for public: local NAT64 (RFC 8215), IPv4-compatible, site-local.
NEVER = (IPv6Network("64:ff9b:1::/48"), IPv6Network("::/96"), IPv6Network("fec0::/10"))
Address = IPv4Address | IPv6Address
_guarded: ContextVar[bool] = ContextVar("guarded", default=False)


class Forbidden(OSError):
    """The address is in a network that messages may not be sent to."""


@contextmanager
def guarded() -> Iterator[None]:
    """Inside, in this thread, only public addresses can be connected to, and those of HOLDFAST_OUTBOUND_ALLOW."""
    _install()
    token = _guarded.set(True)
    try:
        yield
    finally:
        _guarded.reset(token)


def check(host: str) -> None:
    """Raises Forbidden; a name, which only a lookup could tell, passes."""
    if host.lower().rstrip(".") == "localhost":
        host = "127.0.0.1"
    try:
        address = ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        return
    _require_public(address)


@cache
def _install() -> None:
    sys.addaudithook(_hook)  # it cannot be taken away again; outside of guarded() it lets everything pass


def _hook(event: str, args: tuple[Any, ...]) -> None:
    if event in SENDS and _guarded.get():
        address = args[1]
        if address is None:  # of a socket that is connected already
            return
        try:
            found = ip_address(str(address[0]).partition("%")[0]) if isinstance(address, tuple) else None
        except ValueError:
            found = None
        if found is None:
            raise Forbidden(f"{address!r} is no address of the internet")
        _require_public(found)


def _require_public(address: Address) -> None:
    if any(address in network for network in settings.HOLDFAST_OUTBOUND_ALLOW if network.version == address.version):
        return
    if not all(_is_public(one) for one in _meant(address)):
        raise Forbidden(f"{address} is a private address; HOLDFAST_OUTBOUND_ALLOW lists those that may be sent to")


def _is_public(address: Address) -> bool:
    never = isinstance(address, IPv6Address) and any(address in network for network in NEVER)
    return address.is_global and not address.is_multicast and not never


def _meant(address: Address) -> list[Address]:
    """The address and those that it carries inside."""
    if isinstance(address, IPv4Address):
        return [address]
    inside = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    if address in NAT64:
        inside.append(IPv4Address(int(address) & 0xFFFFFFFF))
    mapped = address.ipv4_mapped
    return [mapped] if mapped is not None else [address, *(one for one in inside if one is not None)]
