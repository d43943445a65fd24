"""nginx's configuration: each location that passes requests on, with all that it inherits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from commonpool.chain.model import Nginx, NginxLocation, Setting, Unreadable
from commonpool.chain.nginx_tree import Directive, Tree

_PASSES = {
    "uwsgi_pass": "uwsgi",
    "proxy_pass": "http",
    "fastcgi_pass": "fastcgi",
    "scgi_pass": "scgi",
    "grpc_pass": "grpc",
}
_OWN = frozenset(  # what counts on its own level alone
    {
        *_PASSES,
        *("listen", "server_name", "return", "rewrite", "try_files", "alias", "set", "break"),
        *("internal", "proxy_redirect", "deny", "allow"),
    }
)
_Settings = Mapping[str, Sequence[Setting]]


def read_nginx(file: str, values: Mapping[str, str]) -> tuple[Nginx, list[Unreadable]]:
    """Read nginx's configuration, or a part of one: a server, a location, a few directives.

    Args:
        file: of it; what it includes is relative to its folder, as for nginx.
        values: of variables such as ``${CLIENT_RATE}`` in ``templates/*.template``.

    Returns:
        What was read, and what could not be, with the rest read nevertheless.
    """
    tree = Tree(file, values)
    top = tree.directives
    main = _own_level(top)
    for block in _blocks(top, "events"):
        main |= _own_level(block.block or ())
    upstreams = {
        block.arguments[0]: block for block in _all_blocks(top, "upstream") if block.arguments
    }
    locations: list[NginxLocation] = []
    https = list(_blocks(top, "http"))
    contexts: list[tuple[Sequence[Directive], _Settings]] = [
        (block.block or (), _inherited({}, block.block or ())) for block in https
    ]
    if not https:  # a part of what stands in `http`
        contexts = [(top, _inherited({}, top))]
    for directives, settings in contexts:
        for server in _blocks(directives, "server"):
            inner = server.block or ()
            name = _name_of(inner)
            found = _Found(name, upstreams, locations)
            found.look(inner, _inherited(settings, inner))
        if not https:  # or of a server
            _Found("", upstreams, locations).look(top, settings)
    is_part = not https and not any(_blocks(top, "events"))
    return Nginx(file, main, locations, is_part), tree.problems


@dataclass(frozen=True)
class _Found:
    """The locations of one server.

    Attributes:
        server: its name, for people.
        upstreams: the blocks of that name.
        locations: where those go that pass requests on.
    """

    server: str
    upstreams: Mapping[str, Directive]
    locations: list[NginxLocation]

    def look(self, directives: Sequence[Directive], settings: _Settings, above: str = "") -> None:
        """Look for locations among these directives, and in those."""
        for one in directives:
            if one.block is None:
                continue
            if one.name == "location":
                path = " ".join(one.arguments)
                inner = _inherited(settings, one.block)
                self._add(one, path, inner)
                self.look(one.block, inner, path)
            elif one.name in ("if", "limit_except"):
                path = f"{above} {one.name} ({' '.join(one.arguments)})".strip()
                inner = _inherited(settings, one.block)
                self._add(one, path, inner)

    def _add(self, block: Directive, path: str, settings: _Settings) -> None:
        for one in block.block or ():
            if one.name in _PASSES and one.arguments:
                protocol = _PASSES[one.name]
                addresses, more = self._upstream(one.arguments[0])
                kept = {**settings, one.name: [_setting(one)], **more}
                self.locations.append(
                    NginxLocation(
                        self.server, path, kept, addresses, protocol, block.file, block.line
                    )
                )
                return

    def _upstream(self, target: str) -> tuple[list[str], dict[str, list[Setting]]]:
        """The addresses behind a target, and the directives of its upstream block."""
        address = _address(target)
        block = self.upstreams.get(address)
        if block is None:
            return [address], {}
        more: dict[str, list[Setting]] = {}
        addresses = []
        for one in block.block or ():
            more.setdefault(f"upstream.{one.name}", []).append(_setting(one))
            if one.name == "server" and one.arguments:
                addresses.append(one.arguments[0])
        return addresses, more


def _address(target: str) -> str:
    """The host and port, or the socket, of ``http://host:port/path``."""
    scheme, separator, rest = target.partition("://")
    if not separator:
        return target.removeprefix("uwsgi://")
    if scheme not in ("http", "https", "uwsgi", "suwsgi", "grpc", "grpcs"):
        return target
    if rest.startswith("unix:"):
        return "unix:" + rest.removeprefix("unix:").partition(":")[0]
    return rest.partition("/")[0]


def _own_level(directives: Iterable[Directive]) -> dict[str, list[Setting]]:
    found: dict[str, list[Setting]] = {}
    for one in directives:
        if one.block is None:
            found.setdefault(one.name, []).append(_setting(one))
    return found


def _inherited(
    settings: _Settings, directives: Iterable[Directive]
) -> dict[str, Sequence[Setting]]:
    """What counts on a level: of a directive that stands on it, nothing comes from above."""
    above = {name: values for name, values in settings.items() if name not in _OWN}
    return {**above, **_own_level(directives)}


def _setting(one: Directive) -> Setting:
    return Setting(one.arguments, one.file, one.line)


def _blocks(directives: Iterable[Directive], name: str) -> Iterator[Directive]:
    return (one for one in directives if one.name == name and one.block is not None)


def _all_blocks(directives: Iterable[Directive], name: str) -> Iterator[Directive]:
    yield from _blocks(directives, name)
    for http in _blocks(directives, "http"):
        yield from _blocks(http.block or (), name)


def _name_of(server: Iterable[Directive]) -> str:
    """``example.org:80``, by its names and its ports."""
    level = _own_level(server)
    names = [name for one in level.get("server_name", ()) for name in one.value if name != "_"]
    listens = [one.value[0] for one in level.get("listen", ()) if one.value] or ["80"]
    if not names:
        return ", ".join(f"*:{one}" if one.isdigit() else one for one in listens)
    ports = list(dict.fromkeys(_port_of(one) for one in listens))
    return f"{' '.join(names)}:{','.join(ports)}"


def _port_of(listen: str) -> str:
    if listen.startswith("unix:"):
        return listen
    host, _, port = listen.rpartition(":")
    return port if port.isdigit() and (host or not listen.startswith("[")) else "80"
