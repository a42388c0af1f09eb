"""What an HTTP answer, or its absence, means for an effect."""

import httpx
import pytest

from workflows import Ambiguous, Permanent, Transient
from workflows.errors import from_http

REQUEST = httpx.Request("POST", "http://example.invalid/")


@pytest.mark.parametrize(
    "status, kind", [(200, None), (302, None), (400, Permanent), (404, Permanent), (408, Transient), (409, Permanent),
                     (429, Transient), (500, Ambiguous), (502, Ambiguous), (503, Ambiguous), (504, Ambiguous)],
)  # fmt: skip
def test_a_status_says_what_is_certain(status, kind):
    found = from_http(httpx.Response(status, request=REQUEST))
    assert found is None if kind is None else type(found) is kind


@pytest.mark.parametrize(
    "header, wait",
    [
        ("7", 7.0),
        ("0", 0.0),
        ("rubbish", None),
        ("", None),
        ("-3", None),
        ("Wed, 21 Oct 2015 07:28:00 -0000", None),
    ],
)
def test_retry_after_is_honoured(header, wait):
    found = from_http(httpx.Response(429, headers={"Retry-After": header}, request=REQUEST))
    assert isinstance(found, Transient) and found.retry_after == wait


def test_a_retry_after_in_the_past_is_now():
    assert isinstance(from_http(httpx.Response(503, headers={"Retry-After": "2"}, request=REQUEST)), Transient)
    found = from_http(httpx.Response(503, headers={"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}, request=REQUEST))
    assert isinstance(found, Transient) and found.retry_after == 0.0


@pytest.mark.parametrize(
    "error, kind",
    [
        (httpx.ConnectError("refused"), Transient),
        (httpx.ConnectTimeout("slow"), Transient),
        (httpx.ReadTimeout("slow"), Ambiguous),
        (httpx.RemoteProtocolError("cut"), Ambiguous),
        (ConnectionRefusedError("refused"), Transient),
        (ConnectionResetError("reset"), Ambiguous),
        (TimeoutError("slow"), Ambiguous),
    ],
)
def test_an_exception_is_transient_only_where_nothing_was_sent(error, kind):
    assert type(from_http(error)) is kind
