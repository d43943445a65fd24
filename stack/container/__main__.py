"""``python -m stack.container``: what the application's container runs."""

from __future__ import annotations

import os
import sys

from commonpool import ConfigError
from stack.app.settings import SettingsError
from stack.container.examination import ExaminationError, examine_start
from stack.container.serving import serve
from stack.container.sizes import Sizes, SizesError, check
from stack.data.errors import DatabaseURLError

REFUSED = 2
"""The exit status where a setting cannot work: as that of a command that was used wrongly."""


def main() -> int:
    """Refuse what cannot work, and say why; else serve until told to end.

    Returns:
        The exit status.
    """
    try:
        sizes = Sizes.from_mapping(os.environ)
        check(sizes)
        examine_start(sizes, os.environ)
    except (
        SettingsError,
        ConfigError,
        DatabaseURLError,
        SizesError,
        ExaminationError,
    ) as error:
        sys.stderr.write(f"stack: refused to start: {error}\n")
        return REFUSED
    sys.stderr.write(f"stack: {sizes}\n")
    return serve()


if __name__ == "__main__":
    sys.exit(main())
