"""What a WSGI server loads: ``stack.wsgi:application``."""

from __future__ import annotations

import sys

from commonpool import ConfigError
from stack.app import create_app, logs
from stack.app.settings import SettingsError

FAILED_APP = 22
"""uWSGI's UWSGI_FAILED_APP_CODE: the master ends too, instead of starting the process again."""

logs.configure()
try:
    application = create_app()
except (SettingsError, ConfigError) as error:
    if "uwsgi" not in sys.modules:
        raise
    sys.stderr.write(f"stack: {error}\n")  # one line says it all; a traceback would bury it
    sys.exit(FAILED_APP)
