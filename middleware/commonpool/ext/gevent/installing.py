"""What is to be changed in a process whose threads are greenlets; once, before its pool is made."""

from __future__ import annotations

from commonpool import greenlets, stacks
from commonpool.ext.gevent.here import is_stranger, replace_thread_locals
from commonpool.ext.gevent.native import call
from commonpool.ext.gevent.stacks import stacks_of_greenlets


def install() -> None:
    """Have greenlets be what threads are to the pool. To call it again changes nothing.

    Only where gevent has patched the standard library.
    """
    replace_thread_locals()
    if call not in greenlets.native_calls:
        greenlets.native_calls.append(call)
        greenlets.strangers.append(is_stranger)
        stacks.others.append(stacks_of_greenlets)
