"""``python -m stack.compare``: each error is one clear line, and `--from` needs no server."""

from __future__ import annotations

import sys

import pytest

from stack.compare import __main__ as command
from stack.compare.peers import COMMONPOOL, SHARED
from stack.compare.recording import Recording
from stack.compare.rows import connections


@pytest.fixture
def run(monkeypatch, capsys):
    def refuse(**_: object) -> None:
        raise AssertionError("this measures")

    monkeypatch.setattr(command, "run", refuse)

    def run_with(*arguments: str) -> tuple[int, str, str]:
        status = command.main(arguments)
        return status, *capsys.readouterr()

    return run_with


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["--only", "12"], 2, "there is no '12'; there are 1, 2, 3,"),
        (["--only", ","], 2, "name one at least of 1, 2, 3,"),
        (["--peers", "shared,nobody"], 2, "there is no 'nobody'; there are sequential,"),
        (["--rounds", "0"], 2, "0 is not in the range"),
        (["--seconds", "soon"], 2, "'soon' is not a valid float"),
        (["--nonsense"], 2, "No such option"),
        (["more"], 2, "unexpected extra argument (more)"),
        (["--from", "/nowhere/at-all.json"], 1, "cannot be read: No such file"),
    ],
)
def test_an_error_of_use_is_one_line(run, arguments, status, says):
    ended, out, err = run(*arguments)
    assert (ended, out) == (status, "")
    assert says in err
    assert err.count("\n") == 1


def test_names_come_in_the_order_of_the_table():
    names = command.Names(("1", "2", "tail"))
    assert names.convert("tail, 1,1", None, None) == ("1", "tail")


def test_help_names_every_row_and_every_peer(run):
    status, out, _ = run("--help")
    assert status == 0
    for name in (*command.ROWS, *command.PEERS):
        assert f" {name} " in out


def test_without_matplotlib_nothing_is_measured(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.delitem(sys.modules, "stack.compare.plots", raising=False)
    status, out, err = run()
    assert (status, out) == (1, "")
    assert err == "Error: matplotlib is not installed: pip install --group compare\n"


def test_a_page_is_made_anew_from_samples(run, tmp_path):
    pytest.importorskip("matplotlib")
    recording = Recording(options={"rounds": 1, "seconds": 1.0})
    for peer, rate in ((SHARED, 180.0), (COMMONPOOL, 199.0)):
        recording.add("5", connections.RATE, peer, 0, [rate])
    recording.write(tmp_path / "old.json")
    status, out, err = run("--from", str(tmp_path / "old.json"), "--out", str(tmp_path / "new"))
    assert (status, err) == (0, "")
    assert "0.990: reached" in out.replace("\n", " ")
    assert "| commonpool | 0.995 (0.995 to 0.995) |" in (tmp_path / "new" / "README.md").read_text()
    assert Recording.read(tmp_path / "new" / command.DATA) == recording
    assert (tmp_path / "new" / "row-5.svg").exists()
