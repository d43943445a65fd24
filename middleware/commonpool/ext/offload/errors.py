"""What can go wrong between this process and the one that runs an offloaded call."""

from __future__ import annotations

from commonpool.errors import CommonPoolError


class OffloadError(CommonPoolError, RuntimeError):
    """A call has no result: what ran it has died, or the result could not be brought back."""


class OffloadUnavailable(OffloadError):
    """The Dask cluster is away: it cannot be reached, or was lost before the call was done."""


class RemoteTraceback(Exception):
    """The traceback that an error had where it was raised, as text: the cause of that error."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f'\n"""\n{self.text.rstrip()}\n"""'
