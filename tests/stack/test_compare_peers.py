"""The peers that run under uWSGI answer alike; one that cannot be measured does not end a run."""

from __future__ import annotations

import importlib

import pytest

from commonpool import testing
from stack.compare.budget import Budget
from stack.compare.peers import PEERS, Peer
from stack.compare.recording import Recording
from stack.compare.rows import ROWS
from stack.compare.run import Round
from stack.compare.serving import PeerError, require

ON_FLASK = [
    name
    for name, peer in PEERS.items()
    if peer.server == "uwsgi" and peer.driver == "mysql+mysqldb"
]


@pytest.fixture
def client(request, tmp_path, monkeypatch):
    """A client of the peer named, on SQLite."""
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path / 'empty.db'}")
    for name, value in Budget(threads=4, connections=8).environ().items():
        monkeypatch.setenv(name, value)
    peer = PEERS[request.param]
    for module in peer.packages:
        pytest.importorskip(module)
    module = importlib.import_module(peer.application.partition(":")[0])
    yield module.create().test_client()
    testing.reset()


def test_six_peers_are_on_flask():
    assert len(ON_FLASK) == 6


@pytest.mark.parametrize("client", ON_FLASK, indirect=True)
@pytest.mark.parametrize(
    ("path", "results"),
    [
        ("/one?seconds=0.001", [0]),
        ("/queries?count=5&seconds=0.001", [0, 1, 2, 3, 4]),
        ("/queries?count=5&seconds=0.001&user=1", [0, 1, 2, 3, 4]),
        ("/queries?count=1", [0]),
    ],
)
def test_every_peer_gives_the_same_answer(client, path, results):
    answer = client.get(path)
    assert (answer.status_code, answer.json) == (200, {"results": results})


def test_every_peer_is_a_module_of_its_own():
    for peer in PEERS.values():
        assert importlib.util.find_spec(f"stack.compare.peers.{peer.module}") is not None


def test_the_budget_comes_back_from_the_environment():
    budget = Budget(processes=3, threads=7, connections=11, patience=0.5)
    assert Budget.from_environ(budget.environ()) == budget
    assert Budget.from_environ({}) == Budget()


def test_a_peer_without_a_pool_has_no_more_threads_than_its_queries_have_connections():
    for peer in PEERS.values():
        threads = peer.threads(Budget())
        assert threads == (Budget().threads if peer.pooled else 10)


def test_what_is_missing_is_named():
    peer = Peer(name="x", title="X", module="sequential", packages={"no_such": "No-Such"})
    with pytest.raises(PeerError, match="No-Such is not installed: pip install --group compare"):
        require(peer)


def test_a_peer_that_fails_is_noted_and_the_round_goes_on(tmp_path):
    recording = Recording(options={"rounds": 1})
    told: list[str] = []
    here = Round(recording, 0, 1.0, "mysql://nobody@nowhere/none", tmp_path, told.append)
    peer = Peer(name="x", title="X", module="sequential", packages={"no_such": "No-Such"})
    here.serve(ROWS["1"], peer)
    here.serve(ROWS["6"], PEERS["async-driver"])
    reason = "No-Such is not installed: pip install --group compare"
    assert recording.reasons("1") == {"x": reason}
    assert "no pool" in recording.reasons("6")["async-driver"]
    assert len(told) == 1


def test_a_row_that_breaks_is_noted_and_the_round_goes_on(tmp_path, monkeypatch):
    def broken(*_: object) -> None:
        raise ZeroDivisionError("by nothing")

    row = ROWS["9"]
    monkeypatch.setattr("stack.compare.rows.turns.choosing", broken)
    recording = Recording(options={"rounds": 1})
    Round(recording, 0, 1.0, "", tmp_path, lambda _: None).measure(row)
    assert recording.reasons("9") == {"": "ZeroDivisionError: by nothing"}


def test_the_queue_is_measured_with_all_its_tasks():
    from stack.compare.rows import turns  # noqa: PLC0415

    assert turns.choosing(1) > 0
    assert turns.choosing(turns.MANY) > 0
