"""Where greenlets are now."""

from __future__ import annotations

import gc
from collections.abc import Collection
from traceback import FrameSummary, extract_stack

from greenlet import greenlet


def stacks_of_greenlets(idents: Collection[int]) -> dict[int, list[FrameSummary]]:
    """The calls that greenlets of this process are in, the oldest first; see `stacks.stacks`.

    Args:
        idents: theirs, as `threading` has them: gevent's are the greenlets' addresses.
    """
    return {
        id(one): list(extract_stack(one.gr_frame))
        for one in gc.get_objects()
        if isinstance(one, greenlet) and id(one) in idents and one.gr_frame is not None
    }
