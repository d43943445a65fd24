"""Whether a statement may run on another connection than its session's own, from it alone.

Only what surely is a SELECT that locks nothing and asks nothing about its connection may. A
statement that stays at home for no good reason is slower; one that leaves wrongly brings wrong
rows: so whatever is not understood stays.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import CompoundSelect, Executable, Select, Table, TableClause
from sqlalchemy.orm import FromStatement, LoaderCriteriaOption
from sqlalchemy.schema import Column
from sqlalchemy.sql.dml import UpdateBase
from sqlalchemy.sql.elements import (
    BindParameter,
    ClauseElement,
    ColumnClause,
    False_,
    Null,
    TextClause,
    True_,
    TypeClause,
)
from sqlalchemy.sql.functions import FunctionElement, GenericFunction
from sqlalchemy.sql.lambdas import LambdaElement, NullLambdaStatement
from sqlalchemy.sql.selectable import (
    ForUpdateArg,
    HasHints,
    HasPrefixes,
    HasSuffixes,
    SelectBase,
    TextualSelect,
    Values,
)
from sqlalchemy.util import LRUCache

from commonpool.ext.sqlalchemy.stats import Reason

# What these answer, or do, belongs to the connection that they run on: its last insert, its locks,
# its settings, its transaction, its place in a sequence. On another one they answer something else,
# or lock for somebody else.
CONNECTION_FUNCTIONS = frozenset(
    {
        # MariaDB and MySQL
        "connection_id",
        "found_rows",
        "get_lock",
        "is_free_lock",
        "is_used_lock",
        "last_insert_id",
        "ps_current_thread_id",
        "release_all_locks",
        "release_lock",
        "row_count",
        # sequences, in all that have them
        "currval",
        "lastval",
        "next_value",
        "nextval",
        "setval",
        # PostgreSQL
        "current_role",
        "current_schema",
        "current_schemas",
        "current_setting",
        "current_user",
        "dblink_connect",
        "inet_client_addr",
        "inet_client_port",
        "lo_close",
        "lo_creat",
        "lo_create",
        "lo_export",
        "lo_from_bytea",
        "lo_import",
        "lo_lseek",
        "lo_lseek64",
        "lo_open",
        "lo_put",
        "lo_tell",
        "lo_tell64",
        "lo_truncate",
        "lo_truncate64",
        "lo_unlink",
        "loread",
        "lowrite",
        "pg_backend_pid",
        "pg_current_snapshot",
        "pg_current_xact_id",
        "pg_current_xact_id_if_assigned",
        "pg_export_snapshot",
        "pg_is_other_temp_schema",
        "pg_listening_channels",
        "pg_my_temp_schema",
        "pg_notify",
        "pg_trigger_depth",
        "query_to_xml",
        "session_user",
        "set_config",
        "setseed",
        "txid_current",
        "txid_current_if_assigned",
        "txid_current_snapshot",
        # SQLite
        "changes",
        "last_insert_rowid",
        "load_extension",
        "total_changes",
        # SQL Server
        "applock_mode",
        "applock_test",
        "connectionproperty",
        "context_info",
        "current_transaction_id",
        "cursor_status",
        "ident_current",
        "openquery",
        "openrowset",
        "original_login",
        "rowcount_big",
        "scope_identity",
        "session_context",
        "xact_state",
        # Oracle: the packages of its session, too
        "dbms_alert",
        "dbms_application_info",
        "dbms_lock",
        "dbms_output",
        "dbms_pipe",
        "dbms_random",
        "dbms_session",
        "dbms_transaction",
        "sys_context",
        "userenv",
    }
)

# Families of them, and the schemas where temporary tables are.
_CONNECTION_FAMILIES = r"pg_(?:try_)?advisory_\w*|dblink\w*|pg_(?:toast_)?temp\w*|sqlite_temp_\w+"


def examine(statement: object, execution_options: Mapping[str, Any]) -> Reason | None:
    """Why a statement has to run on its session's own connection; None if any will do.

    Where any will do, the values that the statement computes when it is asked for them (those of
    `Order.user == user`, which may have to load an expired `user`) have been read when this
    returns: a compilation on another thread then finds loaded objects, and does not use the
    session. So call it on the session's own thread; it may execute statements there.

    What a statement does not show cannot be known: a stored function of your own that writes or
    locks, a temporary table, a view that calls `nextval`, the SQL of a `TypeDecorator`, of a
    `column_property` or of the criteria of a `joinedload`. For those there is the execution option
    `run_in_caller=True`; and `reason_in_sql` sees what is in the SQL when it is compiled.

    Args:
        statement: what a `do_orm_execute` listener has as `state.statement`, or a Core statement.
        execution_options: those given with the call; the statement's own are looked at, too.

    Returns:
        The first reason found. `NOT_A_SELECT` stands for everything that is not understood, too:
        text with backslashes, dollar quotes or executable comments, constructs with a compiler of
        their own.

    Raises:
        Exception: what computing a bound value raises, as executing the statement would.
    """
    if execution_options.get("run_in_caller"):
        return Reason.ASKED
    while isinstance(statement, (LambdaElement, NullLambdaStatement)):
        # What the lambda made when it was given; it is not called again for this.
        statement = next(iter(statement.get_children()), None)
    if not isinstance(statement, Executable):
        return Reason.NOT_A_SELECT
    if statement.get_execution_options().get("run_in_caller"):
        return Reason.ASKED
    if isinstance(statement, TextClause):
        reason = reason_in_sql(statement.text)
    elif isinstance(statement, (SelectBase, FromStatement)):
        reason = None
    else:
        reason = Reason.NOT_A_SELECT
    return _examine_tree(statement) if reason is None else reason


@lru_cache(maxsize=1024)
def reason_in_sql(sql: str) -> Reason | None:
    """Why a whole statement that is given as SQL has to stay at home; None if it may leave.

    Quoted strings, quoted names and comments are no part of what is looked at. It can also be
    asked about compiled SQL, with placeholders of any style.
    """
    for code in _readings(sql):
        if _FIRST_WORD.match(code) is None:
            return Reason.NOT_A_SELECT
    return reason_in_fragment(sql)


@lru_cache(maxsize=1024)
def reason_in_fragment(sql: str) -> Reason | None:
    """Why a statement with this piece of SQL in it has to stay at home; None if it may leave."""
    codes = _readings(sql)
    if not codes:
        return Reason.NOT_A_SELECT
    for code in codes:
        if _MORE_STATEMENTS.search(code):
            return Reason.NOT_A_SELECT
        for pattern, reason in _PATTERNS:
            if pattern.search(code):
                return reason
    return None


# The tree of a statement

# By the key with which SQLAlchemy finds the SQL of statements that were compiled before: those with
# the same key are executed as the same SQL, with other values bound.
_reasons: LRUCache[Any, tuple[Reason | None]] = LRUCache(1024)


def _examine_tree(statement: Any) -> Reason | None:
    """The first reason in a statement; where there is none, its computed values have been read."""
    key = statement._generate_cache_key()  # noqa: SLF001 - documented under this name
    try:
        known = None if key is None else _reasons.get(key.key)
    except TypeError:  # a type of its own has something in it that cannot be hashed
        key = known = None
    if known is not None:
        (reason,), bound_values = known, key.bindparams
    else:
        walk = _Walk([statement], [])
        reason, bound_values = _reason_in_tree(walk), walk.computed
        if key is not None:
            _reasons[key.key] = (reason,)
    if reason is None:
        for bound in bound_values:
            if bound.callable is not None:
                bound.effective_value  # noqa: B018  reading it is what loads the object
    return reason


@dataclass(slots=True)
class _Walk:
    """What is still to be looked at below a statement, and what has been found.

    Attributes:
        todo: elements.
        computed: bound values with a callable.
    """

    todo: list[Any]
    computed: list[BindParameter[Any]]


_Look = Callable[[Any, _Walk], Reason | None]


def _reason_in_tree(walk: _Walk) -> Reason | None:
    """The first reason in what there is to look at, and all that is below it.

    Not `visitors.iterate`: that asks every column and table for children that they have not, and
    visits what is below a CTE once for every mention of it.
    """
    todo, looks = walk.todo, _looks
    # The elements themselves: an identity could be another element's by now.
    seen: set[Any] = set()
    while todo:
        element = todo.pop()
        look, has_children = looks[type(element)]
        if look is not None and (reason := look(element, walk)) is not None:
            return reason
        if has_children and element not in seen:
            seen.add(element)
            todo.extend(element.get_children())
    return None


def _locks_rows(_element: Any, _walk: _Walk) -> Reason:
    return Reason.LOCKS_ROWS


def _is_no_select(_element: Any, _walk: _Walk) -> Reason:
    return Reason.NOT_A_SELECT


def _look_at_bound_value(element: Any, walk: _Walk) -> None:
    if element.callable is not None:
        walk.computed.append(element)


def _look_at_column(element: Any, _walk: _Walk) -> Reason | None:
    # A column's name is quoted where it has to be; `literal_column` gives SQL instead.
    return reason_in_fragment(str(element.name)) if element.is_literal else None


def _look_at_table(element: Any, _walk: _Walk) -> Reason | None:
    if _is_temporary(element.schema, element.name):
        return Reason.ABOUT_THE_CONNECTION
    return None


def _look_at_function(element: Any, _walk: _Walk) -> Reason | None:
    names = (getattr(element, "name", ""), *getattr(element, "packagenames", ()))
    if any(_is_about_the_connection(str(name)) for name in names):
        return Reason.ABOUT_THE_CONNECTION
    return None


def _look_at_text(element: Any, _walk: _Walk) -> Reason | None:
    return reason_in_fragment(element.text)


def _look_at_whole_text(element: Any, walk: _Walk) -> Reason | None:
    whole = element.element
    if isinstance(whole, TextClause) and (reason := reason_in_sql(whole.text)):
        return reason
    return _look_at_select(element, walk)


def _look_at_select(element: Any, walk: _Walk) -> Reason | None:
    """Look at what no traversal gives: prefixes, suffixes, hints and the criteria of options.

    SQLAlchemy has no public name for them, so they are recognised by their form: pairs of a text
    and a dialect's name, and mappings of (table, dialect's name) to a text.
    """
    texts: list[str] = []
    for value in list(vars(element).values()):
        if type(value) is tuple:
            for item in value:
                if type(item) is tuple:
                    for part in item:
                        if isinstance(part, str):
                            texts.append(part)
                        elif isinstance(part, ClauseElement):
                            walk.todo.append(part)
                elif isinstance(item, LoaderCriteriaOption):
                    walk.todo.append(item.where_criteria)
        elif isinstance(value, dict) and value:
            texts.extend(
                text
                for key, text in list(value.items())
                if type(key) is tuple and isinstance(text, str)
            )
    return next(filter(None, map(reason_in_fragment, texts)), None)


def _look_at_values(element: Any, walk: _Walk) -> None:
    """Find the expressions among the rows of `values()`, which no traversal gives."""
    walk.todo.extend(_expressions(list(vars(element).values())))


def _expressions(value: Any) -> Iterator[ClauseElement]:
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from _expressions(item)
    elif isinstance(value, ClauseElement):
        yield value


# What to look at in an element, and whether there are others below it. In order: the first that
# fits counts.
_LOOKS: tuple[tuple[tuple[type[Any], ...], _Look | None, bool], ...] = (
    ((BindParameter,), _look_at_bound_value, False),
    ((Column, Null, True_, False_, TypeClause), None, False),
    ((ColumnClause,), _look_at_column, False),
    ((TableClause,), _look_at_table, False),
    ((FunctionElement,), _look_at_function, True),
    ((ForUpdateArg,), _locks_rows, False),
    ((UpdateBase,), _is_no_select, False),
    ((TextClause,), _look_at_text, True),
    ((TextualSelect, FromStatement), _look_at_whole_text, True),
    ((Values,), _look_at_values, True),
    ((LambdaElement, NullLambdaStatement), None, True),
    ((SelectBase, HasPrefixes, HasSuffixes, HasHints), _look_at_select, True),
    ((Executable,), _is_no_select, False),
    ((ClauseElement,), None, True),
)

# Subclasses of these render as they do; any other class from outside of SQLAlchemy has, or may
# have, a compiler of its own, and can then be any SQL at all.
_PLAIN_WHEN_SUBCLASSED = (Select, CompoundSelect, Table, Column, GenericFunction)
_KNOWN_PACKAGES = frozenset({"sqlalchemy", "builtins", "typing", "abc", "collections"})


class _LooksByClass(dict[type[Any], tuple[_Look | None, bool]]):
    """For the classes met so far: they are not many, and looking through the list takes time."""

    def __missing__(self, cls: type[Any]) -> tuple[_Look | None, bool]:
        known = all(base.__module__.partition(".")[0] in _KNOWN_PACKAGES for base in cls.__mro__)
        entry: tuple[_Look | None, bool] = (_is_no_select, False)
        if known or issubclass(cls, _PLAIN_WHEN_SUBCLASSED):
            for classes, look, has_children in _LOOKS:
                if issubclass(cls, classes):
                    entry = (look, has_children)
                    break
        self[cls] = entry
        return entry


_looks = _LooksByClass()


@lru_cache(maxsize=1024)
def _is_about_the_connection(name: str) -> bool:
    name = name.lower()
    return name in CONNECTION_FUNCTIONS or re.fullmatch(_CONNECTION_FAMILIES, name) is not None


@lru_cache(maxsize=1024)
def _is_temporary(schema: str | None, name: str) -> bool:
    return (
        name.startswith("#")  # SQL Server's
        or re.match("sqlite_temp_", name, re.IGNORECASE) is not None
        or re.match("temp$|pg_(toast_)?temp", schema or "", re.IGNORECASE) is not None
    )


# The text of a statement

# Whatever databases read differently is odd: a backslash, which escapes or not; `--x`, no comment
# for MySQL; comments in comments; `/*! code */`; a quote in brackets, or in what is a comment to
# MySQL and an operator to PostgreSQL (#); and a quote that has no end.
_TOKENS = re.compile(
    r"""
    (?P<odd> \\ | \x00 | \r(?!\n) | \$\w*\$ | (?<![\w$])(?: U&['"] | N?Q' )
        | \[ [^\]]*? (?: ['"`\#] | -- | /\* )
        | \# (?= [^\n]* (?: ['"`] | -- | /\* ) ) )
  | (?P<literal> ' [^'\\]* ' )
  | (?P<name> " [^"\\]* " | ` [^`\\]* ` )
  | (?P<comment> --(?=\s|\Z)[^\r\n]* | /\* (?!M?!) (?: (?!/\*) . )*? \*/ )
  | (?P<unpaired> ['"`] | -- | /\* )
    """,
    re.VERBOSE | re.DOTALL | re.IGNORECASE,
)
_HASH_COMMENT = re.compile(r"#[^\n]*")

_FIRST_WORD = re.compile(r"(?:\s|\(|#[^\n]*(?:\n|\Z))*(?:SELECT|WITH|VALUES)\b", re.IGNORECASE)
_MORE_STATEMENTS = re.compile(r";\s*\S")

_SQL_FUNCTIONS = "|".join(sorted(CONNECTION_FUNCTIONS))


def _words(pattern: str) -> re.Pattern[str]:
    """A pattern of whole words that are no qualified name and no bound parameter's."""
    return re.compile(rf"(?<![.:\w$])(?:{pattern})(?![\w$])", re.IGNORECASE)


_PATTERNS = (
    (
        _words(
            r"FOR\s+(?:NO\s+)?(?:KEY\s+)?(?:UPDATE|SHARE)|LOCK\s+IN\s+SHARE\s+MODE"
            r"|KEEP\s+(?:SHARE|UPDATE|EXCLUSIVE)\s+LOCKS"
            r"|UPDLOCK|XLOCK|HOLDLOCK|ROWLOCK|PAGLOCK|TABLOCKX?|SERIALIZABLE|REPEATABLEREAD"
        ),
        Reason.LOCKS_ROWS,
    ),
    (
        # Some are functions, too: REPLACE(a, b, c), INSERT(a, 1, 2, b), TRUNCATE(a, 2).
        _words(r"(?:INSERT|UPDATE|DELETE|MERGE|REPLACE|TRUNCATE)(?!\s*\()|INTO|EXEC|EXECUTE"),
        Reason.NOT_A_SELECT,
    ),
    (
        re.compile(
            rf"\b(?:{_SQL_FUNCTIONS}|{_CONNECTION_FAMILIES})\s*\("
            # not functions, or without parentheses
            r"|\b(?:pg_(?:toast_)?temp\w*|sqlite_temp_\w+|SQL_CALC_FOUND_ROWS)\b"
            r"|\b(?:NEXT|PREVIOUS)\s+VALUE\s+FOR\b|\.\s*(?:NEXTVAL|CURRVAL)\b"
            r"|\b(?:current_(?:role|schema|user)|session_user)\b"
            rf"|\b(?:{'|'.join(n for n in sorted(CONNECTION_FUNCTIONS) if n[:5] == 'dbms_')})\s*\."
            # @variable, @@variable; SQLite's and SQL Server's temporary tables
            r"""|@[\w$.'"`]|(?:\bFROM\b|\bJOIN\b|,)\s*(?:temp\s*\.|\[?\#)""",
            re.IGNORECASE,
        ),
        Reason.ABOUT_THE_CONNECTION,
    ),
)


def _readings(sql: str) -> tuple[str, ...]:
    """What of some SQL is code, in each way to read it; nothing if it is odd."""
    parts: list[str] = []
    end = 0
    for token in _TOKENS.finditer(sql):
        parts.append(sql[end : token.start()])
        end = token.end()
        if token.lastgroup in {"odd", "unpaired"}:
            return ()
        if token.lastgroup == "literal":
            parts.append("''")
        elif token.lastgroup == "name":
            # A function's name, or a schema's, may be quoted; a keyword may not.
            name = token.group()[1:-1]
            parts.append(f" {name} " if _is_about_the_connection(name) else '""')
        else:
            parts.append(" ")
    parts.append(sql[end:])
    code = "".join(parts)
    if "#" not in code:
        return (code,)
    return (code, _HASH_COMMENT.sub(" ", code))
