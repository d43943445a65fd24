"""What is fitted is what it was made of, and how sure it is is said."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pytest

from commonpool.chain.measured import Run, Sizes
from commonpool.plan import simulation
from commonpool.plan.errors import PlanError
from commonpool.plan.fitting import Fit, fit
from commonpool.plan.model import Host, Request
from tests.plan.helpers import CORES, SIZES, measured, truth


def test_what_a_request_costs_elsewhere_is_found(fitted: Fit) -> None:
    found = fitted.parameters
    assert found.request.contended == pytest.approx(0.06, rel=0.2)
    assert found.scale == pytest.approx(1.0, abs=0.08)
    assert found.tail == pytest.approx(1.0, abs=0.2)
    assert found.request.alone == pytest.approx(0.08, rel=0.1)


def test_the_same_measurements_give_the_same_fit_and_the_same_prediction(fitted: Fit) -> None:
    again = fit(measured())
    assert again.parameters == fitted.parameters
    assert again.replicates == fitted.replicates
    host = Host(CORES, SIZES)
    assert again.predict(host, 7, elsewhere=False) == fitted.predict(host, 7, elsewhere=False)


def test_a_load_that_was_not_fitted_is_predicted(fitted: Fit) -> None:
    request, _ = truth()
    host = Host(CORES, SIZES)
    for rps in (7.0, 13.0, 19.0):
        taken = simulation.latencies(
            host.times(request), request.relative, rps, requests=20_000, seed=99
        )
        p50, p99 = simulation.quantiles(taken)
        predicted = fitted.predict(host, rps, elsewhere=False)
        assert predicted.p50.value == pytest.approx(p50, rel=0.15)
        assert predicted.p99.value == pytest.approx(p99, rel=0.30)


def test_the_interval_covers_the_truth_in_most_experiments() -> None:
    host, rps, covered = Host(CORES, SIZES), 14.0, 0
    experiments = 2
    for seed in range(11, 11 + experiments):
        request, _ = truth(seed)
        taken = simulation.latencies(
            host.times(request), request.relative, rps, requests=20_000, seed=99
        )
        p50, p99 = simulation.quantiles(taken)
        got = fit(measured(seed)).predict(host, rps, elsewhere=False)
        assert got.p50.low <= got.p50.value <= got.p50.high
        covered += got.p50.low <= p50 <= got.p50.high
        covered += got.p99.low <= p99 <= got.p99.high
    assert covered >= 0.6 * 2 * experiments  # 90 % are meant; these are four draws


def test_a_machine_that_was_slower_meanwhile_is_found_as_its_scale(fitted: Fit) -> None:
    given = measured()
    slower = [
        dataclasses.replace(run, latencies=[1.5 * seconds for seconds in run.latencies])
        for run in given.runs
    ]
    host = Host(CORES, SIZES)
    usual = fitted.predict(host, 7, elsewhere=False)
    slow = fit(dataclasses.replace(given, runs=slower)).predict(host, 7, elsewhere=False)
    assert slow.p50.value == pytest.approx(1.5 * usual.p50.value, rel=0.2)


def test_one_run_in_which_the_machine_did_something_else_matters_little(fitted: Fit) -> None:
    given = measured()
    bad = dataclasses.replace(
        given.runs[0], rps=6.0, latencies=[5 * seconds for seconds in given.runs[0].latencies]
    )
    disturbed = fit(dataclasses.replace(given, runs=[*given.runs, bad]))
    host = Host(CORES, SIZES)
    assert disturbed.predict(host, 13, elsewhere=False).p50.value == pytest.approx(
        fitted.predict(host, 13, elsewhere=False).p50.value, rel=0.1
    )


@pytest.mark.parametrize("elsewhere", [True, False])
def test_more_load_never_makes_it_faster(fitted: Fit, *, elsewhere: bool) -> None:
    host = Host(CORES, SIZES)
    request = fitted.parameters.request
    most = host.capacity(request.elsewhere() if elsewhere else request)
    found = [fitted.predict(host, share * most, elsewhere=elsewhere) for share in (0.2, 0.7, 0.9)]
    for estimates in ([one.p50 for one in found], [one.p99 for one in found]):
        values = [one.value for one in estimates]
        assert all(after >= 0.98 * before for before, after in itertools.pairwise(values))
        assert values[-1] > 1.2 * values[0]


def request_of(processor: float, waits: float, tasks: float) -> Request:
    return Request(processor, 0.0, waits, tasks, cores=2)


def test_a_process_has_one_core_at_a_time_for_python() -> None:
    request = request_of(0.01, 0.0, 1)
    assert Host(8, Sizes(1, 64, 8)).capacity(request) == pytest.approx(100, rel=0.01)
    assert Host(8, Sizes(2, 64, 8)).capacity(request) == pytest.approx(200, rel=0.01)
    assert Host(2, Sizes(8, 64, 8)).capacity(request) == pytest.approx(200, rel=0.01)


def test_threads_limit_what_waits() -> None:
    request = request_of(0.0, 0.1, 1)
    assert Host(2, Sizes(2, 8, 8)).capacity(request) == pytest.approx(160, rel=0.01)


def test_tasks_wait_side_by_side_as_far_as_there_are_workers_and_connections() -> None:
    request = request_of(0.0, 0.1, 8)

    def alone(workers: int, connections: int | None = None) -> float:
        return float(Host(2, Sizes(1, 1, workers, connections)).times(request)[0])

    assert alone(7) == pytest.approx(0.1)
    assert alone(3) == pytest.approx(0.2)
    assert alone(0) == pytest.approx(0.8)  # one after another
    assert alone(7, connections=4) == pytest.approx(0.2)
    assert alone(7, connections=1) == pytest.approx(0.8)


def test_requests_share_the_workers_of_their_process() -> None:
    request = request_of(0.0, 0.1, 8)
    # Of 16 requests each does one task itself, and 16 workers one more each: two at a time.
    times = Host(2, Sizes(1, 16, 16)).times(request)
    assert times[0] == pytest.approx(0.1)
    assert times[15] == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"runs": []}, "0 loads can be used"),
        ({"unloaded": []}, "0 requests were measured alone"),
        ({"unloaded": [math.nan] * 20}, "broken"),
        ({"unloaded": ["0.1"] * 20}, "broken"),
        ({"unloaded": [-0.1] * 20}, "broken"),
        ({"cores": 0}, "broken"),
        ({"cores": 10**9}, "broken"),
        ({"tasks_per_request": math.inf}, "broken"),
        ({"tasks_per_request": 1e12}, "broken"),
        ({"processor_seconds_per_request": -1.0}, "broken"),
    ],
)
def test_measurements_that_are_none_are_refused_in_one_line(
    change: dict[str, object], words: str
) -> None:
    given = measured(rates=(4.0, 8.0, 12.0), rounds=1, seconds=10)
    with pytest.raises(PlanError, match=words) as caught:
        fit(dataclasses.replace(given, **change))  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    assert "commonpool tune http://127.0.0.1/ --ini uwsgi.ini" in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        {"failures": {"503": 50}},
        {"latencies": []},
        {"latencies": [math.nan] * 100},
        {"latencies": [-1.0] * 100},
        {"latencies": [0.1] * 5},
        {"rps": math.inf},
        {"rps": 0.0},
        {"rps": "many"},
        {"seconds": math.nan},
        {"sizes": Sizes(10**9, 10**9, 1)},
        {"sizes": Sizes(0, 8, 24)},
        {"sizes": Sizes(2, 8, -1)},
        {"sizes": Sizes("2", 8, 24)},  # type: ignore[arg-type]
        {"processor_seconds": math.nan},
    ],
)
def test_a_load_that_is_none_is_left_out(change: dict[str, object]) -> None:
    given = measured(rates=(4.0, 8.0, 12.0), rounds=1, seconds=10)
    bad: list[Run] = [dataclasses.replace(run, **change) for run in given.runs]  # type: ignore[arg-type]
    with pytest.raises(PlanError, match=r"^\d loads can be used, 3 at two rates are needed"):
        fit(dataclasses.replace(given, runs=bad))


def test_a_server_that_uses_no_processor_and_has_no_tasks_can_be_fitted() -> None:
    given = measured(rates=(4.0, 8.0, 12.0), rounds=1, seconds=10)
    idle = [dataclasses.replace(run, processor_seconds=0.0) for run in given.runs]
    found = fit(
        dataclasses.replace(
            given, runs=idle, tasks_per_request=0.0, processor_seconds_per_request=0.0
        )
    )
    predicted = found.predict(Host(CORES, SIZES), 8.0, elsewhere=True)
    assert np.isfinite([predicted.p50.high, predicted.p99.high]).all()
