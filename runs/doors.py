"""Through which door somebody came: what the audit says of every act beside who did what.

The edge (a view, the API's token, a command) marks the person it hands on to a service; services pass the person, and no more.
"""

import getpass
import os
from dataclasses import dataclass
from typing import Any

PAGE, API, LINK, BEARER, SLACK, COMMAND = CHANNELS = "page", "api", "link", "bearer", "slack", "command"


@dataclass(frozen=True)
class Door:
    """``channel``: page, api, link, bearer (a link whose policy asks for no sign-in), slack or command.

    ``address``: the network address that the request came from, or empty.
    """

    channel: str
    address: str = ""


class Stranger:
    """Somebody who is not known here, by the name that they gave."""

    pk = None

    def __init__(self, name: str) -> None:
        self.name = name

    def get_username(self) -> str:
        return self.name


def host_user() -> Stranger:
    """Whoever runs a command on the host; in a container the user may have no name."""
    try:
        return Stranger(getpass.getuser())
    except (KeyError, OSError):
        return Stranger(f"uid {os.getuid()}")


def address_of(request: Any) -> str:
    """Where the request came from, by the server or by a proxy that it trusts."""
    return str(request.META.get("REMOTE_ADDR") or "")


def came(person: Any, channel: str, address: str = "") -> None:
    """Mark the person for the length of this request."""
    person._holdfast_door = Door(channel, address)


def door_of(person: Any) -> Door:
    """Who bears no mark was named by a command on the host itself."""
    found: Door = getattr(person, "_holdfast_door", Door(COMMAND))
    return found
