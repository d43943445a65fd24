"""``python -m commonpool``: the same as the program ``commonpool``."""

from commonpool.cli import main

main()
