"""Teams, Discord, PagerDuty and a hundred others, by Apprise."""

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import apprise

from approvals.models import Delivery, Occasion
from approvals.notifying import outbound, wording
from approvals.notifying.sending import NotTaken

# Services that act on the machine itself and not over the network.
LOCAL = frozenset({"dbus", "kde", "qt", "glib", "gnome", "macosx", "windows", "syslog", "rsyslog"})
_environment = threading.Lock()
KIND = {Occasion.FAILED: apprise.NotifyType.FAILURE, Occasion.STUCK: apprise.NotifyType.WARNING}


def why_not(url: str) -> str:
    """Why nothing can be sent there; empty where it can."""
    scheme = url.partition("://")[0].lower()
    if scheme in LOCAL or len(url) > 2000 or "\0" in url:
        return "an address of a service on the network was expected"
    if apprise.Apprise.instantiate(url, asset=_asset(), suppress_exceptions=True) is None:
        return "an Apprise address was expected, such as discord://id/token or msteams://…; its own documentation lists them"
    return ""


def send(delivery: Delivery, url: str) -> None:
    """Raises NotTaken with what Apprise has logged of it."""
    target = apprise.Apprise(asset=_asset())
    if not target.add(url):
        raise NotTaken("the address is none that Apprise knows")
    occasion = Occasion(delivery.occasion)
    title, text = wording.title(delivery), "\n".join([*wording.lines(delivery), wording.url(delivery)])
    with outbound.guarded(), _without_proxies(), apprise.LogCapture(level=logging.INFO) as log:  # type: ignore[no-untyped-call]
        taken = target.notify(
            title=wording.harmless(title), body=wording.harmless(text), body_format=apprise.NotifyFormat.TEXT,
            notify_type=KIND.get(occasion, apprise.NotifyType.INFO), interpret_escapes=False,
        )  # fmt: skip
        said = log.getvalue()
    if not taken:
        told = [
            line.split(" - ", 2)[-1].strip() for line in said.splitlines() if line.strip()
        ]  # without Apprise's time and level
        raise NotTaken(" ".join(told).replace(url, "…") or "Apprise could not send it")


@contextmanager
def _without_proxies() -> Iterator[None]:
    """Apprise would use one of the environment, behind which no address can be checked."""
    with _environment:
        before = os.environ.get("no_proxy")
        os.environ["no_proxy"] = "*"
        try:
            yield
        finally:
            os.environ.pop("no_proxy") if before is None else os.environ.update(no_proxy=before)


def _asset() -> apprise.AppriseAsset:
    # One after the other in this very thread: the guard of outgoing connections is the thread's.
    return apprise.AppriseAsset(app_id="Holdfast", app_desc="Holdfast", async_mode=False, secure_logging=True)
