"""Peers on their real servers, with nginx in front and MariaDB behind."""

from __future__ import annotations

import dataclasses
import json
import os
import urllib.error
import urllib.request

import pytest

from stack.compare.budget import Budget
from stack.compare.peers import COMMONPOOL, PEERS
from stack.compare.rows import at_rest
from stack.compare.serving import PeerError, require, served
from stack.native.errors import NativeError
from stack.native.mariadb import mariadb
from stack.native.programs import find_program
from stack.native.servers import run_folder
from tests.helpers import wait_until

pytestmark = pytest.mark.timeout(120)

BUDGET = Budget(processes=1, threads=2, connections=6)


@pytest.fixture(scope="module")
def url():
    """Of an empty database. Skips where a server is missing, but never in CI."""
    try:
        for program in ("nginx", "mariadbd", "mariadb-install-db"):
            find_program(program)
    except NativeError as error:
        if os.environ.get("CI"):
            pytest.fail(str(error))
        pytest.skip(str(error))
    with run_folder() as folder, run_folder() as run, mariadb(folder, run) as server:
        yield server.url


@pytest.mark.parametrize("name", [COMMONPOOL, "async-driver", "gevent", "quart"])
def test_a_peer_is_served_measured_and_gone(url, tmp_path, name):
    peer = PEERS[name]
    try:
        require(peer)
    except PeerError as error:
        pytest.skip(str(error))
    samples: dict[str, list[float]] = {}
    with served(peer, BUDGET, url, tmp_path) as address:
        with urllib.request.urlopen(f"{address}/queries?count=3&seconds=0.01&user=1") as answer:
            assert json.load(answer) == {"results": [0, 1, 2]}
        at_rest.load(address, 0.5, lambda measure, values: samples.update({measure: [*values]}))
    assert min(samples[at_rest.ONE]) > at_rest.SECONDS
    # Side by side: nearer to one query than to five.
    assert min(samples[at_rest.ALL]) < 2.5 * at_rest.SECONDS
    wait_until(lambda: not _answers(address))


def test_an_application_that_cannot_be_loaded_is_an_error_with_the_end_of_its_log(url, tmp_path):
    peer = dataclasses.replace(PEERS[COMMONPOOL], module="queries", name="broken")
    with (
        pytest.raises(NativeError, match="uWSGI ended by itself"),
        served(peer, BUDGET, url, tmp_path),
    ):
        pytest.fail("it was served")


def test_a_peer_that_answers_wrongly_is_not_measured(url, tmp_path):
    nowhere = url.replace("/flights?", "/nowhere?")
    with (
        pytest.raises(PeerError, match=r"sequential view answers /one.* with '500 INTERNAL"),
        served(PEERS["sequential"], BUDGET, nowhere, tmp_path),
    ):
        pytest.fail("it was served")


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=1):
            return True
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
