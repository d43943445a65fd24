"""From samples to figures, lines and pages: known samples give known numbers."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from stack.compare import report
from stack.compare.peers import COMMONPOOL, PEERS, SEQUENTIAL, SHARED
from stack.compare.recording import Recording, RecordingError
from stack.compare.results import Figure, Result, figures, ratio
from stack.compare.rows import ROWS, at_rest, connections, fairness, short_queries, starved


def recorded(*samples: tuple[str, str, str, list[list[float]]]) -> Recording:
    """A recording of (row, measure, peer, the values of each round)."""
    recording = Recording(
        machine={"processor": "2 x Some"},
        versions={"CPython": "3.11"},
        options={"rounds": 3, "seconds": 1.0},
        busy=[0.1],
    )
    for row, measure, peer, rounds in samples:
        for number, values in enumerate(rounds):
            recording.add(row, measure, peer, number, values)
    return recording


def test_a_figure_is_the_median_and_the_first_and_ninth_decile():
    figure = Figure.of([float(number) for number in range(11)])
    assert figure == Figure(5, 1, 9)


def test_no_samples_are_no_figure():
    assert Figure.of([]) is None


def test_a_round_counts_once_however_many_samples_it_has():
    recording = recorded(("1", "seconds", SHARED, [[1.0], [2.0], [9.0, 9.0, 9.0, 9.0, 9.0]]))
    assert figures(recording, "1", "seconds")[SHARED].median == 2


def test_a_ratio_is_taken_within_each_round_that_has_both():
    assert ratio({0: 2.0, 1: 9.0, 2: 8.0}, {0: 1.0, 2: 2.0}) == {0: 2.0, 2: 4.0}


def test_row_1_divides_by_the_one_query_of_the_same_server():
    recording = recorded(
        ("1", at_rest.ONE, SHARED, [[0.1], [0.1], [0.2]]),
        ("1", at_rest.ALL, SHARED, [[0.102], [0.103], [0.208]]),
        ("1", at_rest.ONE, COMMONPOOL, [[0.1], [0.1], [0.1]]),
        ("1", at_rest.ALL, COMMONPOOL, [[0.1002], [0.1004], [0.1003]]),
    )
    [line] = at_rest.results(recording)
    assert line.figures[SHARED].median == pytest.approx(1.03)
    assert line.value is not None
    assert line.value.median == pytest.approx(1.003)
    assert line.best == SHARED
    assert line.reached is True
    assert line.reason == ""


def test_row_3_is_measured_against_the_sequential_view_which_is_no_peer():
    measure = short_queries.rate_of(short_queries.FEW)
    recording = recorded(
        ("3", measure, SEQUENTIAL, [[1000.0], [500.0]]),
        ("3", measure, SHARED, [[800.0], [400.0]]),
        ("3", measure, COMMONPOOL, [[900.0], [450.0]]),
        ("3", short_queries.failed_of(short_queries.FEW), SHARED, [[0.0], [0.25]]),
    )
    few, many = short_queries.results(recording)
    assert few.figures[SHARED].median == pytest.approx(0.8)
    assert few.best == SHARED
    assert few.reached is False
    assert few.reason.startswith("Below the target by 0.080. ")
    assert few.notes == {SHARED: "up to 25.0% of its answers were errors"}
    assert many.figures == {}
    assert many.reached is None
    assert many.reason == "not measured"


def test_row_4_has_what_the_small_gain_and_what_the_large_one_pays():
    recording = recorded(
        ("4", fairness.SMALL_ALONE, SHARED, [[0.02]]),
        ("4", fairness.SMALL_BESIDE, SHARED, [[0.16]]),
        ("4", fairness.LARGE_ALONE, SHARED, [[0.2]]),
        ("4", fairness.LARGE_BESIDE, SHARED, [[0.5]]),
        ("4", fairness.SMALL_ALONE, COMMONPOOL, [[0.02]]),
        ("4", fairness.SMALL_BESIDE, COMMONPOOL, [[0.024]]),
        ("4", fairness.LARGE_ALONE, COMMONPOOL, [[0.22]]),
        ("4", fairness.LARGE_BESIDE, COMMONPOOL, [[0.7]]),
    )
    small, beside, alone = fairness.results(recording)
    assert small.figures[SHARED].median == pytest.approx(8)
    assert [line.figures[COMMONPOOL].median for line in (small, beside, alone)] == pytest.approx(
        [1.2, 1.4, 1.1]
    )
    assert [line.reached for line in (small, beside, alone)] == [True, True, False]


def test_row_5_is_a_share_of_what_the_connections_could_do():
    recording = recorded(("5", connections.RATE, COMMONPOOL, [[connections.MOST * 0.995]]))
    [line] = connections.results(recording)
    assert line.figures[COMMONPOOL].median == pytest.approx(0.995)
    assert line.reached


def test_row_6_counts_errors_in_a_hundred_answers():
    recording = recorded(("6", starved.FAILED, COMMONPOOL, [[0.03], [0.032], [0.0]]))
    errors, _ = starved.results(recording)
    assert errors.figures[COMMONPOOL].median == pytest.approx(3.0)
    assert errors.reached is False
    assert errors.reason.startswith("Above the target by 3.0 %.")


def test_a_target_is_reached_exactly_or_not_at_all():
    def result(median: float, *, more: bool) -> Result:
        figure = Figure(median, median, median)
        return Result(row="0", what="", target=0.98, more=more, figures={COMMONPOOL: figure})

    assert result(0.98, more=True).reached
    assert not result(0.9799, more=True).reached
    assert result(0.98, more=False).reached
    assert not result(0.9801, more=False).reached


def test_what_falls_short_says_by_how_much_and_whether_some_rounds_reach_it():
    result = Result(
        row="0",
        what="",
        unit="us",
        target=15,
        figures={COMMONPOOL: Figure(17.5, 14.9, 20)},
        shortfall="Because.",
    )
    assert result.reason == "Above the target by 2.500 us. Some rounds reach it. Because."


def test_the_median_lies_within_the_spread_whatever_is_lost_in_rounding():
    figure = Figure.of([0.92, 0.9200000000000002, 0.92])
    assert figure.low <= figure.median <= figure.high
    for values in ([0.92, 0.92, 0.9225], [0.1, 0.1, 0.1], [0.3, 0.1 + 0.2, 0.3]):
        figure = Figure.of(values)
        assert figure.low <= figure.median <= figure.high


def test_a_recording_comes_back_from_its_file(tmp_path):
    recording = recorded(("1", at_rest.ONE, SHARED, [[0.1, 0.2]]))
    recording.fail("1", "quart", 0, "no\n  such thing")
    recording.write(tmp_path / "samples.json")
    assert Recording.read(tmp_path / "samples.json") == recording
    assert recording.reasons("1") == {"quart": "no such thing"}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "cannot be read: No such file"),
        ("{", "is not a recording"),
        ("[]", "is not a recording"),
        ("{}", "is not a recording"),
        (json.dumps({"format": 1, "samples": [{}], "failures": []}), "is not a recording"),
        (json.dumps({"format": 0}), "was written by another version"),
    ],
)
def test_a_file_that_is_no_recording_is_one_line(tmp_path, text, says):
    file = tmp_path / "samples.json"
    if text is not None:
        file.write_text(text)
    with pytest.raises(RecordingError, match=says) as raised:
        Recording.read(file)
    assert "\n" not in str(raised.value)


def test_a_peer_that_has_failed_is_named_with_the_reason_in_table_and_page():
    recording = recorded(
        ("1", at_rest.ONE, SHARED, [[0.1]]),
        ("1", at_rest.ALL, SHARED, [[0.102]]),
    )
    recording.fail("1", "gevent", 0, "gevent is not installed")
    recording.fail("1", COMMONPOOL, 0, "it did not start")
    shown = io.StringIO()
    report.show(recording, Console(width=200, file=shown))
    for text in (shown.getvalue(), report.markdown(recording, [], "samples.json")):
        assert "gevent is not installed" in text
        assert "it did not start" in text
        assert "1.005: not measured" in text


def test_a_peer_that_has_failed_in_some_rounds_has_its_figure_and_the_reason():
    recording = recorded(("5", connections.RATE, SHARED, [[150.0], [], [170.0]]))
    recording.fail("5", SHARED, 1, "no request was answered in 2 s")
    page = report.markdown(recording, [], "samples.json")
    assert "| 0.800 (0.760 to 0.840) | 1.000 | 0.800 | a round failed: no request was" in page


def test_the_page_shows_each_peer_against_the_best_one_and_the_limit():
    recording = recorded(
        *(("1", at_rest.ONE, name, [[0.1]]) for name in (SHARED, "gevent", COMMONPOOL)),
        ("1", at_rest.ALL, SHARED, [[0.12]]),
        ("1", at_rest.ALL, "gevent", [[0.11]]),
        ("1", at_rest.ALL, COMMONPOOL, [[0.1]]),
    )
    page = report.markdown(recording, [("a plot", "row-1")], "samples.json")
    lines = page.splitlines()
    assert "![a plot](row-1.svg)" in lines
    shared, greenlets = PEERS[SHARED].title, PEERS["gevent"].title
    assert f"| {shared} | 1.200 (1.200 to 1.200) | 1.091 | 1.200 |  |" in lines
    assert f"| {greenlets} | 1.100 (1.100 to 1.100) | 1.000 | 1.100 |  |" in lines
    assert "| commonpool | 1.000 (1.000 to 1.000) | 0.909 | 1.000 |  |" in lines
    assert "(samples.json)" in page


def test_a_machine_that_was_not_at_rest_is_told_of():
    recording = recorded(("1", at_rest.ONE, SHARED, [[0.1]]))
    assert report.warnings(recording) == []
    recording.busy = [1.7, 0.0]
    [warning] = report.warnings(recording)
    assert "1.7 processes wanted each processor" in warning


def test_every_row_gives_lines_without_any_sample():
    recording = Recording()
    for key, row in ROWS.items():
        recording.fail(key, "", 0, "it broke")
        assert [line.row for line in row.results(recording)]
        assert all(line.reached is None for line in row.results(recording))
    assert "it broke" in report.markdown(recording, [], "samples.json")


def test_plots_are_drawn_of_all_that_has_figures(tmp_path):
    pytest.importorskip("matplotlib")
    from stack.compare import plots  # noqa: PLC0415

    recording = recorded(
        ("5", connections.RATE, SHARED, [[190.0], [180.0]]),
        ("5", connections.RATE, COMMONPOOL, [[199.0], [198.0]]),
        *(
            ("tail", f"p{percentile}, {rate} requests/s", COMMONPOOL, [[0.01], [0.02]])
            for percentile in (50, 99)
            for rate in (50, 200, 400)
        ),
    )
    drawn = plots.draw(recording, tmp_path)
    assert [name for _, name in drawn] == ["row-5", "tail"]
    for _, name in drawn:
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert "<svg" in (tmp_path / f"{name}.svg").read_text()
