"""The simulated queue against those whose figures are known."""

from __future__ import annotations

import math

import ciw
import numpy as np
import pytest

from commonpool.chain.measured import Sizes
from commonpool.plan.model import Host, Request
from commonpool.plan.simulation import latencies
from commonpool.plan.stations import Numbers, response_times

SERVICE = 0.1  # seconds
REQUESTS = 25_000


def exponential(count: int = 20_000) -> list[float]:
    draws = np.random.default_rng(7).exponential(1.0, count)
    return (draws / draws.mean()).tolist()


def queue(servers: int, load: float, relative: list[float]) -> Numbers:
    """First come, first served: as many at a time as there are servers, none slows another."""
    return latencies(
        np.full(servers, SERVICE),
        relative,
        load * servers / SERVICE,
        requests=REQUESTS,
        seed=3,
    )


@pytest.mark.parametrize("load", [0.3, 0.7])
def test_one_server_with_exponential_times_is_m_m_1(load: float) -> None:
    taken = queue(1, load, exponential())
    mean = SERVICE / (1 - load)  # and the time is exponential, with that mean
    assert taken.mean() == pytest.approx(mean, rel=0.07)
    assert np.quantile(taken, 0.5) == pytest.approx(mean * math.log(2), rel=0.07)
    assert np.quantile(taken, 0.99) == pytest.approx(mean * math.log(100), rel=0.15)


@pytest.mark.parametrize("load", [0.7])
def test_one_server_with_equal_times_is_m_d_1(load: float) -> None:
    taken = queue(1, load, [1.0])
    assert taken.mean() == pytest.approx(
        SERVICE + SERVICE * load / (2 * (1 - load)),
        rel=0.05,  # Pollaczek and Khinchine
    )


@pytest.mark.parametrize(("servers", "load"), [(2, 0.6), (16, 0.85)])
def test_several_servers_wait_as_erlang_c_says(servers: int, load: float) -> None:
    taken = queue(servers, load, exponential())
    offered = servers * load
    busy = offered**servers / math.factorial(servers) / (1 - load)
    waits = busy / (sum(offered**k / math.factorial(k) for k in range(servers)) + busy)
    rate = servers * (1 - load) / SERVICE  # at which those who wait do not wait any longer
    assert taken.mean() == pytest.approx(SERVICE + waits / rate, rel=0.07)
    service = 1 / SERVICE

    def beyond(t: float) -> float:
        """P(T > t): the wait is 0, or exponential with that rate; then comes the service."""
        waited = (rate * math.exp(-service * t) - service * math.exp(-rate * t)) / (rate - service)
        return (1 - waits) * math.exp(-service * t) + waits * waited

    p99 = float(np.quantile(taken, 0.99))
    assert beyond(p99 / 1.15) > 0.01 > beyond(p99 * 1.15)


@pytest.mark.parametrize("relative", [[1.0], [0.1, 0.1, 0.1, 3.7]])
def test_a_shared_server_takes_the_same_whatever_the_distribution(relative: list[float]) -> None:
    load = 0.7
    taken = latencies(
        SERVICE * np.arange(1, 301), relative, load / SERVICE, requests=REQUESTS, seed=3
    )
    assert taken.mean() == pytest.approx(SERVICE / (1 - load), rel=0.08)  # M/G/1-PS


def test_a_closed_network_answers_as_its_birth_and_death_process() -> None:
    wait, service, servers, most = 0.4, 0.1, 3, 60
    under_way = np.arange(1, most + 1, dtype=float)
    got = response_times([np.minimum(under_way, servers) / service, under_way / wait], most)
    for requests in (1, 2, 7, 60):
        # The machines of a repair shop: `j` of `requests` are at the station, the others wait.
        weights, weight = [1.0], 1.0
        for j in range(1, requests + 1):
            weight *= (requests - j + 1) / wait * service / min(j, servers)
            weights.append(weight)
        throughput = sum(
            share * min(j, servers) / service for j, share in enumerate(weights)
        ) / sum(weights)
        assert got[requests - 1] == pytest.approx(requests / throughput, rel=1e-9)


def test_thousands_of_requests_under_way_are_still_numbers() -> None:
    under_way = np.arange(1, 4097, dtype=float)
    got = response_times([np.minimum(under_way, 2) / 0.01, under_way / 5.0], 4096)
    assert np.isfinite(got).all()
    assert got[0] == pytest.approx(5.01)
    assert got[-1] == pytest.approx(4096 * 0.01 / 2, rel=1e-6)


@pytest.mark.parametrize("load", [0.4, 0.8])
def test_one_station_for_all_takes_as_long_as_the_network_simulated_whole(load: float) -> None:
    cores, processor, waits, requests = 2, 0.03, 0.07, 15_000
    rps = load * cores / processor
    network = ciw.create_network(
        arrival_distributions={"request": [ciw.dists.Exponential(rps), None]},
        service_distributions={
            "request": [ciw.dists.Gamma(4, processor / 4), ciw.dists.Gamma(4, waits / 4)]
        },
        number_of_servers=[math.inf, math.inf],
        ps_thresholds=[cores, 1],
        routing={"request": [[0.0, 1.0], [0.0, 0.0]]},
    )
    ciw.seed(5)
    whole = ciw.Simulation(network, node_class=[ciw.PSNode, ciw.Node])
    whole.simulate_until_max_customers(requests)
    begun, ended = {}, {}
    for record in whole.get_all_records():
        if record.node == 1:
            begun[record.id_number] = record.arrival_date
        else:
            ended[record.id_number] = record.exit_date
    truth = np.array([ended[number] - begun[number] for number in ended])

    draws = np.random.default_rng(5)
    alone = draws.gamma(4, processor / 4, 5000) + draws.gamma(4, waits / 4, 5000)
    request = Request.of(processor, 0.0, 1.0, cores, alone.tolist())
    host = Host(cores, Sizes(processes=64, threads=8, max_workers=1))  # no GIL in the way
    taken = latencies(host.times(request), request.relative, rps, requests=requests, seed=5)
    for share, error in ((0.5, 0.05), (0.99, 0.2)):
        assert np.quantile(taken, share) == pytest.approx(np.quantile(truth, share), rel=error)


def test_the_same_seed_gives_the_same_latencies_and_another_one_others() -> None:
    def once(seed: int) -> Numbers:
        return latencies(np.full(4, SERVICE), [0.5, 1.5], 20, requests=500, seed=seed)

    assert (once(1) == once(1)).all()
    assert (once(1) != once(2)).any()


def test_short_loads_begin_empty_each_time() -> None:
    # At thrice what the server can do: after 2 s there is a wait of 4 s, and no more.
    taken = latencies(np.array([0.1]), [1.0], 30, requests=3000, seed=1, seconds=2.0)
    assert len(taken) == 3000
    assert 3 < taken.max() < 7
