"""FlaskCommonPool: the pool for a Flask application, and its contexts for tasks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from flask import Flask, current_app, g, has_app_context
from werkzeug.exceptions import GatewayTimeout, HTTPException, ServiceUnavailable

from commonpool.config import PREFIX, PoolConfig
from commonpool.errors import DeadlineExceeded, PoolSaturated
from commonpool.task import ContextRunner, context_providers
from commonpool.wsgi import CommonPoolMiddleware, refusal

EXTENSION = "commonpool"


class FlaskCommonPool:
    """Gives a Flask application the process's pool.

    Guarantees:
        A callable runs in an app context of its own, whose teardown functions run when it is
        done: `db.session` inside a task is the task's own. `request` and `session` are readable.
        `g` is empty in a task, but for the names in `copy_g`.
        `PoolSaturated` and `DeadlineExceeded` are answered with 503 and 504 through Flask's error
        handling: a handler of the application for the error, for one of its bases, or for the
        status code comes first.

    Where Flask-SQLAlchemy and greenlet are installed, statements and queries are tasks, too: see
    `commonpool.ext.sqlalchemy`.

    Settings are read from ``app.config["COMMONPOOL_..."]``, or else from variables of that name.

    Args:
        app: the application; or call `init_app` later.
        copy_g: names whose values in `g` tasks are to find in theirs. Never an object of a
            database session: a task that refreshed it would use its caller's connection.

    Raises:
        ConfigError: a setting is wrong.
    """

    def __init__(self, app: Flask | None = None, *, copy_g: Iterable[str] = ()) -> None:
        if isinstance(copy_g, str):
            raise TypeError(f"copy_g takes a collection of names, not one string: ({copy_g!r},)")
        self.copy_g = tuple(copy_g)
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Wrap ``app.wsgi_app``, and answer the pool's errors; doing it again changes nothing."""
        if EXTENSION in app.extensions:
            return
        middleware = CommonPoolMiddleware(app.wsgi_app, config_of(app))
        app.wsgi_app = middleware  # type: ignore[method-assign]  # Flask's own way to add one
        app.extensions[EXTENSION] = self
        for kind in (PoolSaturated, DeadlineExceeded):
            if kind not in own_handlers(app):
                app.register_error_handler(kind, answer)
        provide_contexts()


def provide_contexts() -> None:
    """Have all that is submitted in an application run in its contexts, and its queries be tasks.

    For the whole process; doing it again changes nothing.
    """
    if provide_app_context not in context_providers:
        context_providers.append(provide_app_context)
    if find_spec("flask_sqlalchemy") is not None and find_spec("greenlet") is not None:
        import_module("commonpool.ext.sqlalchemy.flask_sqlalchemy")


def config_of(app: Flask) -> PoolConfig | None:
    """What the application's config says of the pool, over what variables say; or `None`.

    Raises:
        ConfigError: a setting is wrong.
    """
    own = {key: value for key, value in app.config.items() if key.startswith(PREFIX)}
    if not own:
        return None
    return PoolConfig.from_settings(own, over=PoolConfig.from_env())


def provide_app_context() -> ContextRunner | None:
    """What callables run in that are submitted from here; `None` outside an application."""
    if not has_app_context():
        return None
    app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]  # noqa: SLF001 - werkzeug documents it
    extension = app.extensions.get(EXTENSION)
    names = extension.copy_g if extension is not None else ()
    return OwnAppContext(app, {name: getattr(g, name) for name in names if name in g})


class OwnAppContext:
    """An app context for one task.

    Args:
        app: whose.
        values: of `g` in it.
    """

    def __init__(self, app: Flask, values: dict[str, Any]) -> None:
        self._app = app
        self._values = values

    def __call__(self, fn: Callable[[], Any]) -> Any:
        """Call something in it (`ContextRunner`)."""
        with self._app.app_context():
            for name, value in self._values.items():
                setattr(g, name, value)
            return fn()

    @contextmanager
    def entered(self) -> Iterator[None]:
        """The same for what is not run in one go (`commonpool.ext.asyncio`)."""
        with self._app.app_context():
            for name, value in self._values.items():
                setattr(g, name, value)
            yield


def answer(error: PoolSaturated | DeadlineExceeded) -> Any:
    """Answer an error of the pool as Flask would answer an abort with its status."""
    app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]  # noqa: SLF001 - werkzeug documents it
    handlers = own_handlers(app)  # of a blueprint, Flask would have found it before this one
    for kind in type(error).__mro__[1:]:
        if kind is Exception:
            break
        if kind in handlers:
            return app.ensure_sync(handlers[kind])(error)
    status, headers, text = refusal(error)
    app.logger.warning("%s: %s", status, error)
    aborted: HTTPException
    if isinstance(error, PoolSaturated):
        aborted = ServiceUnavailable(text.strip(), retry_after=int(dict(headers)["Retry-After"]))
    else:
        aborted = GatewayTimeout(text.strip())
    aborted.__cause__ = error
    return app.handle_http_exception(aborted)


def own_handlers(app: Flask) -> dict[type[Exception], Callable[..., Any]]:
    """The application's handlers for kinds of errors, those of its blueprints aside."""
    return dict(app.error_handler_spec.get(None, {}).get(None, {}))
