"""How long a request waited for a thread, told in the answer."""

from __future__ import annotations

import re
import time

import pytest

from stack.app.queue_times import queue_seconds


@pytest.mark.parametrize(
    ("header", "waited"),
    [
        ("t=1700000000.250", 0.75),
        ("t=1700000001", 0.0),
        ("t=1699999990.000", 11.0),
    ],
)
def test_the_time_since_nginx_had_the_request(header, waited):
    assert queue_seconds(header, 1_700_000_001.0) == waited


@pytest.mark.parametrize(
    "header",
    [
        "",
        "t=",
        "t=nan",
        "t=inf",
        "t=-1",
        "t=1700000000.0.0",
        "t=1e9",
        "t=1700000000 ",
        "1700000000.0",
        "t=" + "1" * 400,
        "t=\u0661\u0667\u0660\u0660\u0660\u0660\u0660\u0660\u0660\u0660",
        "t=1700000001.001",  # from the future
        "t=1600000000.000",  # from long ago
    ],
)
def test_what_means_nothing_is_ignored(header):
    assert queue_seconds(header, 1_700_000_001.0) is None


def test_an_answer_tells_it(client):
    timing = client.get("/healthz", headers={"X-Request-Start": f"t={time.time() - 2:.3f}"})
    found = re.fullmatch(r"queue;dur=([\d.]+)", timing.headers["Server-Timing"])
    assert found
    assert 1_990 < float(found[1]) < 60_000


@pytest.mark.parametrize("header", ["", "nonsense", "t=99999999999"])
def test_an_answer_says_nothing_of_what_is_not_known(client, header):
    assert (
        "Server-Timing" not in client.get("/healthz", headers={"X-Request-Start": header}).headers
    )
