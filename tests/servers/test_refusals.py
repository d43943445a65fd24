"""What cannot work is refused when the server starts, with one line that says what to set."""

from __future__ import annotations

from pathlib import Path

import pytest

from stack.native.errors import NativeError
from tests.servers.kinds import UWSGI
from tests.servers.running import PROBE, run

TWO_INTERPRETERS = {"single_interpreter": None, "manage_script_name": "true"}


def refusal(log: Path) -> str:
    """The line of the error."""
    lines = {line for line in log.read_text().splitlines() if "ConfigError: " in line}
    assert len(lines) == 1, lines
    return lines.pop()


@pytest.mark.parametrize("lazy", [None, "true"], ids=["in_the_master", "lazy"])
def test_uwsgi_whose_threads_stand_still_between_requests_does_not_start(
    tmp_path: Path, lazy: str | None
) -> None:
    kind = UWSGI("2.0.26", {"enable_threads": None, "lazy_apps": lazy})
    with pytest.raises(NativeError, match="ended by itself"), run(kind, tmp_path):
        pass
    assert "Set 'enable-threads = true' in uwsgi.ini" in refusal(tmp_path / "log")


def test_uwsgi_2_0_26_with_several_threads_needs_no_more(tmp_path: Path) -> None:
    kind = UWSGI("2.0.26", {"enable_threads": None, "threads": "2"})
    with run(kind, tmp_path) as running:
        assert len(running.get("/parallel").json()["tasks"]) == 4


def test_uwsgi_from_2_0_27_on_has_threads_without_being_told(tmp_path: Path) -> None:
    with run(UWSGI("2.0.30", {"enable_threads": None}), tmp_path) as running:
        assert len(running.get("/parallel").json()["tasks"]) == 4


@pytest.mark.parametrize("lazy", [None, "true"], ids=["in_the_master", "lazy"])
@pytest.mark.parametrize(
    "apps",
    [
        {"module": None, "mount": f"/one={PROBE}\n/two={PROBE}"},
        {"mount": f"/two={PROBE}"},
    ],
    ids=["two_mounts", "a_module_and_a_mount"],
)
@pytest.mark.parametrize("version", ["2.0.30", "2.0.31"])
def test_an_application_in_a_second_interpreter_is_not_loaded(
    tmp_path: Path, version: str, apps: dict[str, str | None], lazy: str | None
) -> None:
    kind = UWSGI(version, {**TWO_INTERPRETERS, **apps, "lazy_apps": lazy})
    with run(kind, tmp_path) as running:
        running.wait_for_log("ConfigError: ")
    assert "Set 'single-interpreter = true' in uwsgi.ini" in refusal(tmp_path / "log")


@pytest.mark.parametrize("version", ["2.0.30", "2.0.31"])
def test_one_mount_needs_no_single_interpreter(tmp_path: Path, version: str) -> None:
    kind = UWSGI(version, {**TWO_INTERPRETERS, "module": None, "mount": f"/one={PROBE}"})
    with run(kind, tmp_path) as running:
        assert len(running.get("/one/parallel").json()["tasks"]) == 4
        assert "ConfigError" not in running.log


def test_mounts_in_a_single_interpreter_share_a_pool(tmp_path: Path) -> None:
    kind = UWSGI(
        options={
            "module": None,
            "manage_script_name": "true",
            "mount": f"/one={PROBE}\n/two={PROBE}",
            "processes": "1",
        }
    )
    with run(kind, tmp_path) as running:
        threads = [
            {thread for _, thread in running.get(f"{mount}/parallel").json()["tasks"]}
            for mount in ("/one", "/two")
        ]
    assert threads[0] == threads[1]
