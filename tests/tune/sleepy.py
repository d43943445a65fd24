"""A request sleeps as long as it is told to: how many are served is for the threads to decide."""

from __future__ import annotations

import os
import time
from urllib.parse import parse_qs


def application(environ, start_response):
    query = parse_qs(environ["QUERY_STRING"])
    time.sleep(float(query.get("s", ["0.05"])[0]))
    if environ["PATH_INFO"] == "/broken":
        raise OSError(1040, "Too many connections")
    if environ["PATH_INFO"] == "/moved":
        start_response("302 Found", [("Location", "/login"), ("Content-Length", "0")])
        return []
    names = query.get("env", [])
    body = "\n".join(f"{name}={os.environ.get(name, '')}" for name in names).encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
