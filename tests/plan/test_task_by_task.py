"""The model, fitted to a host that was simulated task by task, predicts it at other loads."""

from __future__ import annotations

import random

import numpy as np
import pytest

from commonpool.chain.measured import Measurements, Run, Sizes
from commonpool.plan.fitting import fit
from commonpool.plan.model import Host
from tests.plan.task_by_task import Machine

CORES, TASKS, SECONDS = 2, 8, 60.0


def test_unseen_loads_are_predicted() -> None:
    sizes, processor, contended, latency = Sizes(2, 8, 24), 0.02, 0.03, 0.1
    most = CORES / (processor + contended)

    def measured(sizes: Sizes, rps: float, requests: int) -> list[float]:
        draws = random.Random(int(1000 * rps))
        return Machine(sizes, CORES, processor, contended, latency, TASKS, draws).run(rps, requests)

    rates = {share: round(share * most, 1) for share in (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)}
    taken = {rps: measured(sizes, rps, int(SECONDS * rps)) for rps in rates.values()}
    known = [
        Run(sizes, 0, rates[share], SECONDS, taken[rates[share]], {}, 0.0, [])
        for share in (0.2, 0.4, 0.6, 0.8)
    ]
    found = fit(Measurements("/", "ini", CORES, measured(sizes, 0.1, 60), processor, TASKS, known))
    for share in (0.3, 0.5, 0.7):
        p50, p99 = np.quantile(taken[rates[share]], (0.5, 0.99))
        predicted = found.predict(
            Host(CORES, sizes), rates[share], elsewhere=False, seconds=SECONDS
        )
        assert predicted.p50.value == pytest.approx(p50, rel=0.2)
        assert predicted.p99.value == pytest.approx(p99, rel=0.4)
