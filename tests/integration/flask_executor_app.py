"""An application written for Flask-Executor, with the drop-in: threads, and processes.

Settings are variables:
    PROBE_FOLDER: where `done` is, a file to which lines are added, and where a gate is opened.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from flask import Flask, current_app, request

from commonpool.ext.flask_executor import Executor

FOLDER = Path(os.environ["PROBE_FOLDER"])
LIMIT = 30.0  # seconds that a task waits for the gate

application = Flask("orders")
application.config.update(COMPUTING_EXECUTOR_TYPE="process", COMPUTING_EXECUTOR_MAX_WORKERS=1)
executor = Executor(application)
computing = Executor(application, name="computing")


@executor.job
def send_invoice(number: int) -> str:
    """Wait for the gate; then say where this was done, and for which request."""
    ends_at = time.monotonic() + LIMIT
    while not (FOLDER / "gate").exists():
        if time.monotonic() > ends_at:
            raise TimeoutError
        time.sleep(0.001)
    with (FOLDER / "done").open("a") as file:
        file.write(f"{number} {os.getpid()}\n")
    return f"{current_app.name} {number} {request.path}"


def square(number: int) -> tuple[int, int]:
    """What a process computes, and which one."""
    return number * number, os.getpid()


@application.get("/order/<int:number>")
def order(number: int) -> dict[str, int]:
    """Begin something that goes on when this is answered."""
    send_invoice.submit_stored(number, number)
    return {"pid": os.getpid()}


@application.get("/invoices")
def invoices() -> list[str]:
    """Wait for several."""
    return list(send_invoice.map(range(3)))


@application.get("/squares")
def squares() -> dict[str, object]:
    """Have a process compute."""
    futures = [computing.submit(square, number) for number in range(3)]
    values, pids = zip(*(future.result(LIMIT) for future in futures), strict=True)
    return {"values": values, "pids": sorted(set(pids)), "pid": os.getpid()}
