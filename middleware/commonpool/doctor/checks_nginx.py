"""How nginx passes requests on."""

from __future__ import annotations

from collections.abc import Iterator

from commonpool.chain.model import Chain
from commonpool.doctor.facts import arguments, directive, first, locations, module
from commonpool.doctor.findings import Level, Seen, check, fail, ok, warn

NEEDED = ("REQUEST_METHOD", "QUERY_STRING", "PATH_INFO", "SERVER_NAME", "SERVER_PORT")
"""What a WSGI application cannot do without (PEP 3333), and nginx does not send by itself."""
_BODY = ("CONTENT_TYPE", "CONTENT_LENGTH")


@check(
    "nginx-retries-non-idempotent",
    Level.FAIL,
    why="Where the connection breaks off, nginx sends a POST once more, to another process: the "
    "order is placed twice.",
)
def retries(chain: Chain) -> Iterator[Seen]:
    """Again, after an error, nginx sends POST, PATCH and LOCK, too (`non_idempotent`)."""
    for location in locations(chain):
        place = directive(location, "next_upstream")
        words = arguments(place)
        name = f"{module(location)}_next_upstream"
        if "non_idempotent" not in words:
            yield ok(f"{name}: a POST is sent once", place, file=location.file)
            continue
        rest = [word for word in words if word != "non_idempotent"] or ["off"]
        yield fail(
            f"{name} {' '.join(words)}: a POST is sent again, too (location {location.path})",
            place,
            fix=f"{name} {' '.join(rest)};",
            file=location.file,
        )


@check(
    "nginx-buffering-off",
    Level.WARN,
    why="A client that is slow to send or to read holds a request thread all that time, and a few "
    "of them hold all.",
)
def buffering(chain: Chain) -> Iterator[Seen]:
    """Buffering is off, of requests or of answers, so that slow clients hold threads."""
    for location in locations(chain):
        for what, name in (("answers", "buffering"), ("requests", "request_buffering")):
            place = directive(location, name)
            full = f"{module(location)}_{name}"
            if first(place) != "off":
                yield ok(f"{what} are buffered", place, file=location.file)
                continue
            yield warn(
                f"{full} off: {what} go through as slowly as the client (location {location.path})",
                place,
                fix=f"{full} on;\n(for one that streams, a location of its own)",
                file=location.file,
            )


@check(
    "uwsgi-params-missing",
    Level.FAIL,
    why="uWSGI knows of a request what nginx sends as uwsgi_param: without them the application "
    "answers with 500, or with the wrong page.",
)
def params(chain: Chain) -> Iterator[Seen]:
    """`uwsgi_param` is missing where requests are passed on."""
    for location in locations(chain):
        if module(location) != "uwsgi":
            continue
        names = {first(setting) for setting in location.directives.get("uwsgi_param", ())}
        missing = [name for name in (*NEEDED, *_BODY) if name not in names]
        if "PATH_INFO" in missing and "REQUEST_URI" in names and "DOCUMENT_URI" in names:
            missing.remove("PATH_INFO")
        if not missing:
            yield ok(f"{len(names)} variables", file=location.file)
            continue
        what = "all variables" if not names else ", ".join(missing)
        yield fail(
            f"location {location.path} of {location.server} sends no {what}"
            if names
            else f"location {location.path} of {location.server} sends no variables: no "
            "uwsgi_params is included",
            fix="include uwsgi_params;",
            file=location.file,
        )


CHECKS = (retries, params, buffering)
