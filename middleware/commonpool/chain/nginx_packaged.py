"""Files that come with nginx's package, which a configuration includes and need not bring along."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

FOLDER = Path("/etc/nginx")
"""Where packages of nginx have their files."""

UWSGI_PARAMS: Sequence[tuple[str, ...]] = (
    ("QUERY_STRING", "$query_string"),
    ("REQUEST_METHOD", "$request_method"),
    ("CONTENT_TYPE", "$content_type"),
    ("CONTENT_LENGTH", "$content_length"),
    ("REQUEST_URI", "$request_uri"),
    ("PATH_INFO", "$document_uri"),
    ("DOCUMENT_ROOT", "$document_root"),
    ("SERVER_PROTOCOL", "$server_protocol"),
    ("REQUEST_SCHEME", "$request_scheme"),
    ("HTTPS", "$https", "if_not_empty"),
    ("REMOTE_ADDR", "$remote_addr"),
    ("REMOTE_PORT", "$remote_port"),
    ("SERVER_PORT", "$server_port"),
    ("SERVER_NAME", "$server_name"),
)
"""What ``uwsgi_params`` of the package sets."""

NAMES = frozenset(
    {"uwsgi_params", "mime.types", "fastcgi_params", "fastcgi.conf", "scgi_params", "proxy_params"}
)
"""The files that any package has. (``proxy_params`` is Debian's.)"""
