"""The dashboard as JSON."""

from __future__ import annotations

from typing import Any

from flask import Blueprint

from stack.app.parameters import mode_parameter
from stack.app.queries import ask_dashboard

api = Blueprint("api", __name__, url_prefix="/api")


@api.get("/dashboard")
def dashboard() -> dict[str, Any]:
    """Run the dashboard's queries in the mode that ``?mode=`` names.

    Returns:
        ``mode``, ``elapsed_ms``, ``tasks`` (name, start_ms, end_ms, thread) and ``results``, which
        are the same in both modes.
    """
    done = ask_dashboard(mode_parameter())
    return {
        "mode": done.mode.value,
        "elapsed_ms": round(done.elapsed_ms, 3),
        "tasks": [task.as_json() for task in done.tasks],
        "results": done.results,
    }
