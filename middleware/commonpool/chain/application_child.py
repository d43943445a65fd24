"""Imports the application in a process of its own, and reports what is there then.

Run as a file, by the Python that the application has, which need not have commonpool: it imports
the standard library alone. It reads what to load from standard input and writes what it found to
the descriptor that its argument names, both as JSON.
"""

from __future__ import annotations

import gc
import importlib
import importlib.util
import json
import os
import sys
from typing import Any


def main() -> None:
    """Load, look, report."""
    given = json.load(sys.stdin)
    with open(int(sys.argv[1]), "w", encoding="utf-8") as report:  # noqa: PTH123 - a descriptor
        # The package that this file is in is no top-level one for the application.
        sys.path[0:1] = given["path"]
        sys.argv[:] = ["uwsgi"]
        os.chdir(given["chdir"])
        try:
            loaded = load(given["module"], given["file"])
            found = look(loaded)
        except BaseException as error:  # an application may raise anything
            found = {"error": f"{type(error).__name__}: {error}"}
        json.dump(found, report)
    os._exit(0)  # not the application's own ending, which may wait for its threads


def load(module: str, file: str) -> Any:
    """The module that uWSGI would import."""
    if module:
        return importlib.import_module(module)
    name = "uwsgi_file_" + file.replace("/", "_").replace(".", "_")
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} is no Python file")
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[name] = loaded
    spec.loader.exec_module(loaded)
    return loaded


def look(loaded: Any) -> dict[str, Any]:
    """Engines, pools and modes that there are after the import."""
    engines = [
        thing for thing in gc.get_objects() if _is(thing, "sqlalchemy.engine.base", "Engine")
    ]
    apps = [thing for thing in gc.get_objects() if _is(thing, "flask.app", "Flask")]
    names = {id(engine): name for engine in engines if (name := _name_of(engine, loaded))}
    flask_engines: dict[int, str] = {}
    for app in apps:
        extension = getattr(app, "extensions", {}).get("sqlalchemy")
        if extension is None or not hasattr(type(extension), "engines"):
            continue
        with app.app_context():
            for key, engine in extension.engines.items():
                flask_engines[id(engine)] = "db" if key is None else f"db ({key})"
                if not any(engine is other for other in engines):
                    engines.append(engine)
    return {
        "engines": [
            {"name": flask_engines.get(id(engine)) or names.get(id(engine), "engine")}
            | described(engine)
            for engine in engines
        ],
        "debug": any(bool(getattr(app, "debug", False)) for app in apps),
        "pool": any(_is(thing, "commonpool.pool", "CommonPool") for thing in gc.get_objects()),
        "gevent": _is_patched(),
        "adapted": "commonpool.ext.sqlalchemy" in sys.modules,
    }


def described(engine: Any) -> dict[str, Any]:
    """One engine in figures; nothing is connected."""
    pool = engine.pool
    found: dict[str, Any] = {
        "dialect": engine.dialect.name,
        "driver": engine.dialect.driver,
        "poolclass": type(pool).__name__,
        "pool_recycle": getattr(pool, "_recycle", None),
        "pool_pre_ping": getattr(pool, "_pre_ping", None),
        "max_overflow": getattr(pool, "_max_overflow", None),
        "pool_timeout": getattr(pool, "_timeout", None),
    }
    size = getattr(pool, "size", None)
    if size is not None:
        found["pool_size"] = size() if callable(size) else size
    if hasattr(pool, "checkedin") and hasattr(pool, "checkedout"):
        found["connections"] = pool.checkedin() + pool.checkedout()
    return {name: value for name, value in found.items() if value is not None}


def _is(thing: Any, module: str, name: str) -> bool:
    """Whether it is of a class of that name, if that is imported at all."""
    known = sys.modules.get(module)
    kind = getattr(known, name, None)
    # Not isinstance: a proxy would say that it is what it stands for.
    return kind is not None and issubclass(type(thing), kind)


def _name_of(engine: Any, loaded: Any) -> str:
    for module in [loaded, *list(sys.modules.values())]:
        for name, thing in list(getattr(module, "__dict__", {}).items()):
            if thing is engine:
                return str(name)
    return ""


def _is_patched() -> bool:
    monkey = sys.modules.get("gevent.monkey")
    return bool(monkey is not None and monkey.is_module_patched("socket"))


if __name__ == "__main__":
    main()
