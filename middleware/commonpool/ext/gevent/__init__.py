"""gevent: the pool's tasks are greenlets, and drivers written in C wait on native threads.

Nothing has to be imported: where gevent has patched the standard library by the time the pool is
made, with its first use, this is installed. gunicorn's gevent worker and uWSGI's
``gevent-early-monkey-patch`` patch before the application is imported, uWSGI's
``gevent-monkey-patch`` after; both will do.
"""

from commonpool.ext.gevent.installing import install

__all__ = ["install"]
