"""Processes of this machine, as Linux tells of them."""

from __future__ import annotations

from pathlib import Path


def group_members(leader: int) -> list[int]:
    """The processes that are left of a process group; those that wait to be reaped do not count."""
    members = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                state, _parent, group = (folder / "stat").read_text().rsplit(")", 1)[1].split()[:3]
            except OSError:  # it has ended since
                continue
            if int(group) == leader and state != "Z":
                members.append(int(folder.name))
    return members
