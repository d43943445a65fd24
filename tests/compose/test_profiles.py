"""The profiles `bench` and `dev`."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import httpx

from stack.native.ports import free_port
from stack.native.waiting import wait_until
from tests.compose.engine import ROOT, Stack


def test_bench_prints_the_figures_of_both_modes(own_stack: Stack) -> None:
    own_stack.compose("--profile", "bench", "up", "--detach", CLIENT_RATE="10000r/s")

    wait_until(lambda: not own_stack.container("bench").running, limit=180)

    figures = own_stack.logs("bench")
    assert own_stack.container("bench").about["State"]["ExitCode"] == 0, figures
    rows = re.findall(
        r"([a-zA-Z5].*?) +(sequential|parallel) +([\d.]+) +(\d+) +(\d+) +0 *$",
        figures,
        re.MULTILINE,
    )
    assert len(rows) == 2 * 2 * 2, figures  # numbers of clients, pages, modes
    for first, second in zip(rows[::2], rows[1::2], strict=True):
        slept = {mode: float(rate) for page, mode, rate, *_ in (first, second) if "SLEEP" in page}
        assert not slept or slept["parallel"] > slept["sequential"], figures


def test_dev_reloads_when_the_code_changes(own_stack: Stack, tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    for name in ("docker-compose.yml", "stack", "middleware", "nginx", "uwsgi.ini"):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, project / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, project / name)
    port = free_port()
    edited = Stack(own_stack.name, own_stack.port, {"DEV_PORT": str(port)}, folder=project)

    edited.compose("--profile", "dev", "up", "--detach", "--no-build", "dev")

    def served(text: str) -> bool:
        try:
            return text in httpx.get(f"http://127.0.0.1:{port}/healthz", trust_env=False).text
        except httpx.HTTPError:
            return False

    wait_until(lambda: served('"ok"'), limit=60)
    code = project / "stack" / "app" / "health.py"
    code.write_text(code.read_text().replace('"status": "ok"', '"status": "changed"'))
    wait_until(lambda: served('"changed"'), limit=60)
