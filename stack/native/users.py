"""Whom a server runs as. Databases refuse to be root, which is what a container often is."""

from __future__ import annotations

import os
import pwd
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class User:
    """A user of this system, by numbers."""

    uid: int
    gid: int


def is_root() -> bool:
    """Return whether this process may act as any user."""
    return os.geteuid() == 0


def database_user(folder: Path, name: str = "mysql") -> User | None:
    """Return whom a database should run as, with its data in ``folder``; ``None`` is who we are.

    That is the user ``name`` where we are root, and that user can get at the folder.
    """
    if not is_root():
        return None
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        return None
    parents = (parent.stat() for parent in folder.resolve().parents)
    return User(entry.pw_uid, entry.pw_gid) if all(p.st_mode & 0o001 for p in parents) else None


def own(path: Path, user: User | None) -> None:
    """Give ``path`` to ``user``, and let nobody else in."""
    path.chmod(0o700 if path.is_dir() else 0o600)
    if user:
        os.chown(path, user.uid, user.gid)
