"""The log is off: CPython 3.11 parses in one thread at a time only, without saying so (gh-106905).

Hypothesis parses in the main thread, and to format the traceback of a log record is to parse, too.
"""

from __future__ import annotations

import gc
import logging
from typing import TYPE_CHECKING

import pytest

from commonpool import process

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True, scope="module")
def _no_tracebacks_in_the_log() -> Iterator[None]:
    log = logging.getLogger("commonpool")
    before = log.level
    log.setLevel(logging.CRITICAL)
    yield
    process.reset()
    gc.collect()  # what nobody has asked for is told now, and not in another test
    log.setLevel(before)
