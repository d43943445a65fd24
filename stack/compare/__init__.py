"""Every peer on the same machine, database and load, in one run, in turn.

``python -m stack.compare``, or `make compare`, starts each peer's server, measures, and writes a
table and plots. What is measured is in `rows`, whom is in `peers`, with what in `budget`.
"""
