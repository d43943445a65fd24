"""Loads a page at its own times: a program of its own, asked and answering in lines of JSON.

The loop is open: when a request is sent depends on the clock alone, not on answers, and its latency
is counted from when it was due. So a server that stands still for a second delays all that was due
in that second, and all of it is counted (no "coordinated omission"). It also measures itself: by
how much it was late, and what it took of the processor.
"""

from __future__ import annotations

import asyncio
import gc
import json
import random
import resource
import sys
import time
from collections import Counter
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from http import HTTPStatus
from typing import Any

import aiohttp

from commonpool.tune.statistics import percentile

NO_ANSWER = "no answer in"
"""Begins what a request ended in that was not answered in time."""

_AGENT = "commonpool-tune"


@dataclass
class Load:
    """What became of a load.

    Attributes:
        sent: requests.
        latencies: seconds of those answered well, in the order in which they were due.
        failures: of the others, by what they ended in.
        lag: seconds by which the generator itself sent late, the p99.
        processor_seconds: that it used.
        seconds: that it lasted, the wait for the last answers included.
        redirect: where the last answer sent its client instead; empty where it did not, or where
            that was not looked at.
    """

    sent: int = 0
    latencies: list[float] = field(default_factory=list)
    failures: dict[str, int] = field(default_factory=dict)
    lag: float = 0.0
    processor_seconds: float = 0.0
    seconds: float = 0.0
    redirect: str = ""


async def at_rate(
    url: str, *, host: str, rate: float, seconds: float, patience: float, seed: int
) -> Load:
    """Ask at random times, as many people do who know nothing of each other (Poisson).

    Args:
        url: what is asked for.
        host: what the application is told it is called.
        rate: requests a second.
        seconds: for which it asks.
        patience: seconds, after which a request without an answer has failed.
        seed: of the times; the same for the same times.
    """
    draws = random.Random(seed)  # noqa: S311 - times, not secrets
    due, when = [], draws.expovariate(rate)
    while when < seconds:
        due.append(when)
        when += draws.expovariate(rate)
    return await _ask(url, host, due or [0.0], patience)


async def one_after_another(url: str, *, host: str, times: int, patience: float) -> Load:
    """Ask again when the last answer is there.

    Args:
        url: what is asked for.
        host: as above.
        times: requests.
        patience: as above.
    """
    load, failures, started = Load(), Counter[str](), time.perf_counter()
    redirects: list[str] = []
    async with _session(host) as session:
        for _ in range(times):
            begun = time.perf_counter()
            ended = await _get(session, url, patience, redirects)
            if ended:
                failures[ended] += 1
            else:
                load.latencies.append(time.perf_counter() - begun)
    load.sent, load.failures = times, dict(failures)
    load.seconds = time.perf_counter() - started
    load.redirect = redirects[-1] if redirects else ""
    return load


async def _ask(url: str, host: str, due: list[float], patience: float) -> Load:
    failures: Counter[str] = Counter()
    latencies: list[float] = [-1.0] * len(due)
    lags: list[float] = []
    before = time.process_time()
    async with _session(host) as session, asyncio.TaskGroup() as group:
        start = time.perf_counter()

        async def ask(number: int) -> None:
            at = start + due[number]
            lags.append(time.perf_counter() - at)
            ended = await _get(session, url, at + patience - time.perf_counter())
            if ended:
                failures[ended if ended != _LATE else f"{NO_ANSWER} {patience:g} s"] += 1
            else:
                latencies[number] = time.perf_counter() - at

        for number, when in enumerate(due):
            wait = start + when - time.perf_counter()
            if wait > 0:
                await asyncio.sleep(wait)
            group.create_task(ask(number))
    return Load(
        sent=len(due),
        latencies=[latency for latency in latencies if latency >= 0],
        failures=dict(failures),
        lag=percentile(lags, 0.99),
        processor_seconds=time.process_time() - before,
        seconds=time.perf_counter() - start,
    )


_LATE = "late"


async def _get(
    session: aiohttp.ClientSession, url: str, patience: float, redirects: list[str] | None = None
) -> str:
    """Ask once; what it failed with, or nothing. Where a redirect leads is added to `redirects`."""
    try:
        async with (
            asyncio.timeout(max(patience, 0)),
            session.get(url, allow_redirects=False) as answer,
        ):
            await answer.read()
    except TimeoutError:
        return _LATE
    except aiohttp.ClientConnectorError as error:
        return f"no connection: {error.os_error.strerror or error.os_error}"
    except (aiohttp.ClientError, OSError, ValueError) as error:
        return type(error).__name__
    if answer.status < HTTPStatus.BAD_REQUEST:
        if redirects is not None and "Location" in answer.headers:
            redirects.append(answer.headers["Location"])
        return ""
    return f"{answer.status} {answer.reason or ''}".strip()


def _session(host: str) -> aiohttp.ClientSession:
    # A connection for each request, as nginx has it with the uwsgi protocol.
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, force_close=True),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
        headers={"Host": host, "User-Agent": _AGENT},
        auto_decompress=False,
    )


def main() -> None:
    """Answer each line of standard input, and end with it."""
    with suppress(OSError, ValueError):
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    calls: dict[str, Any] = {"at_rate": at_rate, "one_after_another": one_after_another}
    gc.freeze()
    with suppress(KeyboardInterrupt, BrokenPipeError):  # Ctrl-C is for who started this
        for line in sys.stdin:
            asked = json.loads(line)
            gc.collect()
            gc.disable()  # a collection would be a lag
            load = asyncio.run(calls[asked.pop("call")](**asked))
            gc.enable()
            sys.stdout.write(json.dumps(asdict(load)) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
