"""SIGKILL of the worker that sends messages, between any two statements that matter: never a loss, at most one duplicate."""

from ipaddress import ip_network

import pytest

from approvals.models import Delivery, DeliveryState
from approvals.services import channels
from runs.clock import offset_for_tests
from runs.models import Notice
from tests.receiver import receiving
from tests.test_crash_matrix import Dying

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(scope="module")
def dying(django_db_setup, django_db_blocker):
    with django_db_blocker.unblock():
        process = Dying("http://127.0.0.1:9")
    yield process
    process.stop()


@pytest.fixture
def hook(people, settings):
    settings.HOLDFAST_OUTBOUND_ALLOW = [ip_network("127.0.0.1/32")]
    for user in people.values():  # no e-mail in the way
        user.email = ""
        user.save(update_fields=["email"])
    with receiving() as receiver:
        channels.create(by=people.carol, name="books", kind="webhook", url=f"{receiver.url}/hooks", events=["gate.opened"])
        yield receiver
    offset_for_tests("")


@pytest.mark.parametrize(("point", "sent"), [
    ("while a notice is handed on", 1),
    ("before a message is sent", 1),
    ("after a message is sent, before it is noted", 2),
    ("after a message is noted", 1),
])  # fmt: skip
def test_a_killed_worker_loses_nothing_and_doubles_at_most_once(hook, dying, make_gate, deliver, point, sent):
    make_gate()
    assert dying.order("deliver", point, 1) == -9
    deliver()
    offset_for_tests("121 seconds")  # what it had taken is free again
    deliver()
    deliver()
    assert len(hook.got) == sent and len(set(hook.ids)) == 1
    assert Notice.objects.count() == 0 and Delivery.objects.get().state == DeliveryState.SENT
