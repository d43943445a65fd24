"""One fit for all tests that only look at it."""

from __future__ import annotations

from pathlib import Path

import pytest

from commonpool.plan.fitting import Fit
from tests.plan.helpers import a_fit, measured, recorded


@pytest.fixture(scope="session")
def fitted() -> Fit:
    return a_fit()


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return recorded(tmp_path_factory.mktemp("tune"), measured())
