"""The clients: each sends its next request when it has the answer to the one before."""

from __future__ import annotations

import http.client
import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random
from typing import Any
from urllib.parse import urlsplit

from stack.soak.plan import MOST_SEEDS, plan

PATIENCE = 60.0  # seconds: above every limit of the stack

FEWEST_TASKS, MOST_TASKS = 200, 1000
"""Of one request."""

TOLD = 20
"""Wrong answers that are told; the others are counted."""


class Clients:
    """Threads that send requests, and check every answer.

    Args:
        url: of nginx.
        seed: of all random numbers.
        number: of threads.
    """

    def __init__(self, url: str, seed: int, number: int) -> None:
        self._url = url
        self._random = Random(seed)  # noqa: S311 - nothing is to be kept secret
        self._number = number
        self._lock = threading.Lock()
        self._resting = threading.Event()
        self.requests = 0
        self.tasks = 0
        self.kinds: Counter[str] = Counter()
        self.wrong = 0
        self.told: list[str] = []

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Have requests sent meanwhile; at the end all are answered, and all connections closed."""
        self._resting.clear()
        threads = [
            threading.Thread(target=self._work, name=f"soak-client-{number}", daemon=True)
            for number in range(self._number)
        ]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._resting.set()
            for thread in threads:
                thread.join(PATIENCE)

    def _work(self) -> None:
        connection = connect(self._url)
        try:
            while not self._resting.is_set():
                with self._lock:
                    seed = self._random.randint(1, MOST_SEEDS)
                    tasks = self._random.randint(FEWEST_TASKS, MOST_TASKS)
                self._ask(connection, seed, tasks)
        finally:
            connection.close()

    def _ask(self, connection: http.client.HTTPConnection, seed: int, tasks: int) -> None:
        path = f"/soak/run?seed={seed}&tasks={tasks}"
        steps = plan(seed, tasks)
        try:
            outcomes = get(connection, path)["outcomes"]
            errors = [
                f"{path}: step {number}, {type(step).__name__}: {outcome!r:.200}"
                for number, (step, outcome) in enumerate(zip(steps, outcomes, strict=True))
                if not step.right(outcome)
            ]
        except (OSError, http.client.HTTPException, ValueError) as error:
            connection.close()  # it is opened again by the next request
            errors = [f"{path}: {error!r:.300}"]
        with self._lock:
            self.requests += 1
            self.tasks += sum(step.tasks for step in steps)
            for step in steps:
                self.kinds[type(step).__name__] += step.tasks
            self.wrong += bool(errors)
            self.told += errors[: TOLD - len(self.told)]


def connect(url: str) -> http.client.HTTPConnection:
    """A connection for requests one after another."""
    address = urlsplit(url)
    return http.client.HTTPConnection(str(address.hostname), address.port, timeout=PATIENCE)


def get(connection: http.client.HTTPConnection, path: str) -> Any:
    """What a GET request is answered with, from JSON.

    Raises:
        ValueError: the answer was not a 200 with JSON.
        OSError, http.client.HTTPException: there was no answer.
    """
    connection.request("GET", path)
    response = connection.getresponse()
    body = response.read()
    if response.status != http.HTTPStatus.OK:
        raise ValueError(f"{response.status}: {body[:200]!r}")
    return json.loads(body)
