"""The servers of the reference stack as child processes on this machine.

MariaDB, uWSGI and nginx are started in a folder of their own, on free ports and UNIX sockets,
without root, and stopped again. `make demo`, `make stack`, the integration tests and the
benchmark all use the context managers of this package.
"""
