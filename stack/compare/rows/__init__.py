"""The measurements, each in a module of its own."""

from __future__ import annotations

from stack.compare.rows import (
    at_rest,
    connections,
    dashboard,
    fairness,
    large_fan_out,
    memory,
    no_ops,
    short_queries,
    starved,
    tails,
    turns,
    unused,
)
from stack.compare.rows.row import LocalRow, ServedRow

ROWS: dict[str, ServedRow | LocalRow] = {
    module.ROW.key: module.ROW
    for module in (
        at_rest,
        no_ops,
        short_queries,
        fairness,
        connections,
        starved,
        unused,
        large_fan_out,
        turns,
        memory,
        dashboard,
        tails,
    )
}
