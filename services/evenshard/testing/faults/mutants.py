"""Mutants of storage: each takes one call, one check or one rule away, at a named place of the running code.

Calls and checks are found in the source, so none is forgotten: every statement that syncs a file or a directory or cuts
a file, and every condition that compares a checksum. Rules of order are patched by hand.
"""

import ast
import importlib
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any, Final
from unittest import mock

import evenshard.storage as storage

CALLS: Final = frozenset({"sync", "sync_directory", "truncate"})
_CHECKED: Final = re.compile(r"checksum|digest|\bwrong\b|verdict")
CHECKSUM_FUNCTIONS: Final = frozenset(
    {"checksum", "checksum_of", "block_checksums", "_row_checksum", "_joined_checksum"}
)
_ROOT: Final = Path(storage.__path__[0])


@dataclass(frozen=True, slots=True)
class Site:
    """A statement of a function: ``index`` counts those of its kind in it."""

    module: str
    function: str
    kind: str
    index: int

    @property
    def name(self) -> str:
        return f"{self.module}:{self.function}:{self.kind}:{self.index}"


@cache
def sites() -> Mapping[str, Site]:
    """All places of calls and checks, by name; the source is read once."""
    found: dict[str, Site] = {}
    for path in sorted(_ROOT.rglob("*.py")):
        for function, node in _functions(ast.parse(path.read_text())):
            for kind, number, _ in _statements(node):
                site = Site(_module(path), function, kind, number)
                found[site.name] = site
    return found


def calls() -> int:
    """How many calls there are of those that sync or cut, wherever they stand."""
    nodes = (node for path in _ROOT.rglob("*.py") for node in ast.walk(ast.parse(path.read_text())))
    called = (node.func for node in nodes if isinstance(node, ast.Call))
    return sum(isinstance(func, ast.Attribute) and func.attr in CALLS for func in called)


def checksum_calls() -> Mapping[str, int]:
    """How often each function of storage computes a checksum, by name."""
    counts: dict[str, int] = {}
    for path in sorted(_ROOT.rglob("*.py")):
        for function, node in _functions(ast.parse(path.read_text())):
            calls = [call for call in _own_nodes(node) if isinstance(call, ast.Call)]
            count = sum(isinstance(c.func, ast.Name) and c.func.id in CHECKSUM_FUNCTIONS for c in calls)
            if count:
                counts[f"{_module(path)}:{function}"] = count
    return counts


@contextmanager
def mutated(name: str) -> Iterator[None]:
    """The mutant of this name is in force."""
    if name in RULES:
        with RULES[name]():
            yield
        return
    site = sites()[name]
    module = importlib.import_module(f"evenshard.storage.{site.module}")
    code = _code_without(site)
    live = _live(module, site.function)
    before, live.__code__ = live.__code__, code
    try:
        yield
    finally:
        live.__code__ = before


@cache
def _code_without(site: Site) -> CodeType:
    path = _ROOT.joinpath(*site.module.split(".")).with_suffix(".py")
    tree = ast.parse(path.read_text())
    function = next(node for qualified, node in _functions(tree) if qualified == site.function)
    target = next(node for kind, number, node in _statements(function) if (kind, number) == (site.kind, site.index))
    changed = ast.fix_missing_locations(_Without(target).visit(tree))
    return _code_of(compile(changed, str(path), "exec"), site.function)


def _module(path: Path) -> str:
    return ".".join(path.relative_to(_ROOT).with_suffix("").parts)


def _functions(tree: ast.Module) -> Iterator[tuple[str, ast.FunctionDef]]:
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            yield node.name, node
        elif isinstance(node, ast.ClassDef):
            for inner in node.body:
                if isinstance(inner, ast.FunctionDef):
                    yield f"{node.name}.{inner.name}", inner


def _own_nodes(function: ast.FunctionDef) -> Iterator[ast.AST]:
    for statement in function.body:
        yield from ast.walk(statement)


def _statements(function: ast.FunctionDef) -> Iterator[tuple[str, int, ast.stmt]]:
    counts: dict[str, int] = {}
    for node in _own_nodes(function):
        kind = _kind(node)
        if kind is not None:
            assert isinstance(node, ast.stmt)
            number = counts[kind] = counts.get(kind, 0) + 1
            yield kind, number, node


def _kind(node: ast.AST) -> str | None:
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        called = node.value.func
        if isinstance(called, ast.Attribute) and called.attr in CALLS:
            return called.attr
    if isinstance(node, ast.If) and _CHECKED.search(ast.unparse(node.test)) and _refuses(node):
        return "check"
    return None


def _refuses(node: ast.If) -> bool:
    """Whether what follows says that something is damaged."""
    return bool(re.search(r"damaged|DATA_DAMAGED|Bad\(", "".join(ast.unparse(line) for line in node.body)))


class _Without(ast.NodeTransformer):
    def __init__(self, target: ast.stmt) -> None:
        self._target = target

    def visit(self, node: ast.AST) -> Any:
        if node is not self._target:
            return super().generic_visit(node)
        if isinstance(node, ast.If):
            node.test = ast.copy_location(ast.Constant(False), node.test)
            return node
        return ast.copy_location(ast.Pass(), node)


def _code_of(module: CodeType, function: str) -> CodeType:
    for constant in module.co_consts:
        if isinstance(constant, CodeType):
            if constant.co_qualname == function:
                return constant
            if function.startswith(f"{constant.co_qualname}."):
                return _code_of(constant, function)
    raise LookupError(function)


def _live(module: object, function: str) -> FunctionType:
    held: Any = module
    for part in function.split("."):
        held = held.__dict__[part]
    held = getattr(held, "__func__", held)
    held = getattr(held, "__wrapped__", held)
    assert isinstance(held, FunctionType)
    return held


# Rules


@contextmanager
def _segments_go_before_the_commit() -> Iterator[None]:
    from evenshard.storage import indexing

    commit = indexing.catalog_committed

    def early(state: Any, tenant: Any, added: Any, removed: Any, *rest: Any) -> Any:
        state.pins.remove([info for info in state.catalog.segments.get(tenant, ()) if info.id in removed])
        return commit(state, tenant, added, removed, *rest)

    with mock.patch.object(indexing, "catalog_committed", early):
        yield


@contextmanager
def _logs_go_before_the_commit() -> Iterator[None]:
    from evenshard.storage import indexing
    from evenshard.storage.log.writer import FOLDER, file_name

    commit = indexing.catalog_committed

    def early(state: Any, tenant: Any, added: Any, removed: Any, mark: int, *rest: Any) -> Any:
        ends = lambda name: mark if name == tenant else state.catalog.mark(name)  # noqa: E731
        for number in state.log_files.removable(state.writer.number, ends):
            state.disk.unlink(file_name(number))
            state.disk.sync_directory(FOLDER)
            state.log_files.remove(number)
        return commit(state, tenant, added, removed, mark, *rest)

    with mock.patch.object(indexing, "catalog_committed", early):
        yield


@contextmanager
def _logs_go_whoever_needs_them() -> Iterator[None]:
    def removable(self: Any, active: int, mark: Any) -> list[int]:
        return [number for number in sorted(self._ends) if number < active]

    with mock.patch("evenshard.storage.log.files.LogFiles.removable", removable):
        yield


@contextmanager
def _identities_of_failed_writes_are_kept() -> Iterator[None]:
    with mock.patch("evenshard.storage.appender._forget"):
        yield


@contextmanager
def _the_log_goes_on_after_a_failed_sync() -> Iterator[None]:
    from evenshard.storage.appender import append_group

    def forgetful(state: Any, appends: Any) -> Any:
        state.writer.broken = None
        return append_group(state, appends)

    with mock.patch("evenshard.storage.store.append_group", forgetful):
        yield


@contextmanager
def _acked_before_written() -> Iterator[None]:
    """A group is answered first, and written with the next one."""
    from evenshard.storage.log.writer import LogWriter

    write = LogWriter._write_and_sync
    held: list[Any] = []

    def late(self: LogWriter, buffers: Any) -> None:
        write(self, held)
        held[:] = buffers

    with mock.patch.object(LogWriter, "_write_and_sync", late):
        yield


@contextmanager
def _epochs_are_not_kept() -> Iterator[None]:
    from evenshard.storage.catalog import Catalog

    def forgetful(self: Catalog, tenant: Any, epoch: Any) -> None:
        from dataclasses import replace

        self._records.states[tenant] = replace(self._state(tenant), epoch=epoch)

    with mock.patch.object(Catalog, "set_epoch", forgetful):
        yield


@contextmanager
def _deletions_are_not_kept() -> Iterator[None]:
    """A deletion hides, but is in memory only."""
    with mock.patch("evenshard.storage.deleting._commit"):
        yield


@contextmanager
def _damage_is_not_kept() -> Iterator[None]:
    """What is damaged is in quarantine, but in memory only."""
    from evenshard.storage.catalog import Catalog

    def forgetful(self: Catalog, found: Any) -> None:
        self._records.quarantined |= {each.key: each for each in found}

    with mock.patch.object(Catalog, "quarantine", forgetful):
        yield


@contextmanager
def _segment_ids_are_not_kept() -> Iterator[None]:
    """They are counted, but reserved in memory only."""
    from evenshard.storage.catalog import Catalog

    def forgetful(self: Catalog) -> int:
        self._next_id += 1
        return self._next_id - 1

    with mock.patch.object(Catalog, "next_segment_id", forgetful):
        yield


@contextmanager
def _names_are_forgotten_first() -> Iterator[None]:
    """A purge forgets whom it is for, then removes the bytes."""
    from evenshard.storage import purging

    step = purging.purge_step

    def hasty(state: Any, tenant: Any, *rest: Any) -> bool:
        rows = state.tenants[tenant]
        seqs = [record.seq for record in rows.visible.deletions.records]
        if seqs:
            with state.changing_catalog() as catalog:
                catalog.retire_deletions(tenant, seqs)
        return step(state, tenant, *rest)

    with mock.patch("evenshard.storage.store.purge_step", hasty):
        yield


@contextmanager
def _fences_are_not_kept() -> Iterator[None]:
    """A fence is in force, but in memory only."""
    from evenshard.storage.moving import fencing
    from evenshard.storage.moving.known import store

    def forgetful(state: Any, rows: Any, record: Any, **named: Any) -> Any:
        if record.fenced_at is None:
            return store(state, rows, record, **named)
        rows.moves.put(record)
        return record

    with mock.patch.object(fencing, "store", forgetful):
        yield


@contextmanager
def _copied_rows_are_counted_first() -> Iterator[None]:
    """How far a follower is, is on record before the rows are."""
    from evenshard.storage.moving import taking
    from evenshard.storage.moving.known import following, store

    take = taking.take_rows

    def hasty(state: Any, rows: Any, name: str, told: Any) -> None:
        from dataclasses import replace

        record = following(rows, name)
        store(state, rows, replace(record, follow=record.follow.reached(told[-1].position)))  # type: ignore[union-attr]
        rows.moves.put(record)
        take(state, rows, name, told)

    with mock.patch.object(taking, "take_rows", hasty):
        yield


RULES: Final[Mapping[str, Callable[[], Any]]] = {
    "rule:sync before ack": _acked_before_written,
    "rule:commit before the replaced segments go": _segments_go_before_the_commit,
    "rule:commit before log files go": _logs_go_before_the_commit,
    "rule:a log file stays while any tenant needs it": _logs_go_whoever_needs_them,
    "rule:forget identities when the write fails": _identities_of_failed_writes_are_kept,
    "rule:nothing is taken after a failed sync": _the_log_goes_on_after_a_failed_sync,
    "rule:an epoch is kept before its rows": _epochs_are_not_kept,
    "rule:a deletion is kept before its ack": _deletions_are_not_kept,
    "rule:names are forgotten when the bytes are gone": _names_are_forgotten_first,
    "rule:damage is on record before anything goes on": _damage_is_not_kept,
    "rule:segment ids are reserved before there are files": _segment_ids_are_not_kept,
    "rule:a fence is kept before its ack": _fences_are_not_kept,
    "rule:copied rows are there before it is known how far they are": _copied_rows_are_counted_first,
}
