"""Ties a program to the process that starts it: when that is killed, the program is ended too.

    python -I -S tether.py PARENT_PID USER_ID GROUP_ID PROGRAM [ARGUMENT...]

A program of its own, and not a `preexec_fn`: that would run Python code after a fork of a process
with threads. It also changes the user, rather than `subprocess`: the other user may not be allowed
to run this Python, which can lie in somebody's home. Where the system has no such tie (anything
but Linux), the program just runs.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main(arguments: list[str]) -> None:
    """Replace this process by the program in ``arguments``, which begin with the three ids."""
    parent, user, group = (int(argument) for argument in arguments[:3])
    libc = ctypes.CDLL(None)
    if user != os.geteuid():
        os.setgroups([])
        os.setgid(group)
        os.setuid(user)
    if sys.platform == "linux":
        # SIGTERM, on which each of our servers ends in good order and takes its own children
        # along. The tie outlives exec, but not a change of user: that comes before.
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # killed before the tie was there
            sys.exit(0)
    os.execvp(arguments[3], arguments[3:])  # noqa: S606 (exec is what this is for)


if __name__ == "__main__":
    main(sys.argv[1:])
