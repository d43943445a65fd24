"""Where greenlets are now."""

from __future__ import annotations

from collections.abc import Collection
from traceback import FrameSummary, extract_stack
from weakref import WeakValueDictionary

from greenlet import greenlet

# By what `threading` has for their idents: gevent's are the addresses of greenlets. (To look for
# them among all objects, `gc.get_objects`, would disturb native threads: a tuple that is being made
# must not be referred to.)
_known: WeakValueDictionary[int, greenlet] = WeakValueDictionary()


def know(here: greenlet) -> None:
    """Note a greenlet, for as long as it lives."""
    if id(here) not in _known:
        _known[id(here)] = here


def stacks_of_greenlets(idents: Collection[int]) -> dict[int, list[FrameSummary]]:
    """The calls that greenlets of this process are in, the oldest first; see `stacks.stacks`.

    Args:
        idents: theirs.
    """
    found: dict[int, list[FrameSummary]] = {}
    for ident in idents:
        here = _known.get(ident)
        if here is not None and here.gr_frame is not None:
            found[ident] = list(extract_stack(here.gr_frame))
    return found
