"""The application: a dashboard whose queries run side by side."""

from __future__ import annotations

import os
from collections import ChainMap
from typing import TYPE_CHECKING, Any

from flask import Flask

from commonpool.ext.flask import FlaskCommonPool
from stack.app import database, failures, headers, health, queue_times, request_ids
from stack.app.api import api
from stack.app.pages import pages
from stack.app.settings import Settings
from stack.app.sleeps import sleeps

if TYPE_CHECKING:
    from collections.abc import Mapping

STATIC_SECONDS = 3600


def create_app(config: Mapping[str, Any] | None = None) -> Flask:
    """Return the application. Opens no connection and starts no thread.

    Args:
        config: Flask's own settings, and those of ``stack.app.settings`` and ``COMMONPOOL_*`` by
            their names. These come before environment variables.

    Raises:
        SettingsError: a setting of the stack is wrong.
        commonpool.ConfigError: a setting of the pool is wrong.
    """
    given = dict(config or {})
    settings = Settings.from_mapping(ChainMap(given, os.environ))
    app = Flask(__name__)
    app.config.from_mapping(SEND_FILE_MAX_AGE_DEFAULT=STATIC_SECONDS)
    app.config.from_mapping(given)
    app.extensions["stack.settings"] = settings
    app.json.sort_keys = False  # type: ignore[attr-defined] # the order of columns means something
    app.jinja_env.trim_blocks = True
    app.jinja_env.lstrip_blocks = True

    queue_times.init_app(app)
    request_ids.init_app(app)
    headers.init_app(app)
    failures.init_app(app)
    database.init_app(app, settings)
    health.init_app(app, settings)
    app.register_blueprint(pages)
    app.register_blueprint(api)
    app.register_blueprint(sleeps)
    FlaskCommonPool(app)
    return app
