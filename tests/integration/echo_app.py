"""The reference application, and what shows of a request that went through nginx and uWSGI.

/echo           what the application takes the request for, and its headers
/own/<status>   an error of the application's own, that says when to come again
/in-tasks       two tasks at once, each of which logs a line
"""

from __future__ import annotations

import threading
from typing import Any

from flask import request, url_for

from commonpool import run_in_parallel
from stack.app import create_app, logs

logs.configure()
application = create_app()


@application.route("/echo", methods=["GET", "POST"])
def echo() -> dict[str, Any]:
    return {
        "scheme": request.scheme,
        "address": request.remote_addr,
        "page": url_for("pages.dashboard", _external=True),
        "headers": dict(request.headers),
    }


@application.get("/own/<int:status>")
def own(status: int) -> tuple[str, int, dict[str, str]]:
    return "the application's own", status, {"Retry-After": "77"}


@application.get("/in-tasks")
def in_tasks() -> list[str]:
    both = threading.Barrier(2)

    def task() -> str:
        both.wait(10)
        name = threading.current_thread().name
        application.logger.warning("a task on %s", name)
        return name

    return run_in_parallel([task, task])
