"""What a power cut may leave of a disk, systematically: every state the journal allows, up to stated bounds. Pure.

A file keeps what was synced; of its unsynced changes any prefix, or all with the last torn at the bytes ``cuts`` names,
what is missing of it absent, or zeros or noise in turns (both at boundaries; an earlier one was torn likewise at its
own moment). What a failed sync
dropped reads as zeros, whatever is synced later. Of the unsynced changes of names any subset happened (all subsets of
up to ``NAME_CHANGES_ALL`` changes; of more: every prefix, suffix, one alone, all but one). One file at a time takes all
its contents while the others have lost everything unsynced, or nothing. Databases have what was committed.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import PurePosixPath

from evenshard.testing.faults.journal import (
    Committed,
    DiskState,
    Entry,
    FolderSynced,
    Named,
    Noted,
    Synced,
    SyncFailed,
    Truncated,
    Wrote,
)

NAME_CHANGES_ALL = 5
STRIDES = 6
"""``some_cuts`` cuts a write into so many parts, besides its boundaries."""

Cuts = Callable[[str, Wrote], Sequence[int]]
"""Where to tear a write to the file of a name: offsets in its data, from 0 (nothing) to its length (exclusive)."""

_NOISE = bytes((number * 167 + 89) % 256 for number in range(1 << 16))
_SEGMENTS = "segments/"
"""Files that count only from a commit on, and are synced before it: their tears are many and mean little."""


def every_byte(name: str, write: Wrote) -> Sequence[int]:
    """All of them; of segments as ``some_cuts``."""
    return some_cuts(name, write) if _SEGMENTS in name else range(len(write.data))


def some_cuts(name: str, write: Wrote) -> Sequence[int]:
    """Before, at and behind each boundary of a buffer, at the first bytes of a frame's fields, and in equal strides."""
    near = {boundary + off for boundary in write.boundaries for off in (-1, 0, 1)}
    step = max(1, len(write.data) // STRIDES)
    cuts = near | {7, 8, 9, 79, 80, 81, 87, 88, 89} | set(range(0, len(write.data), step))
    return sorted(cut for cut in cuts if 0 <= cut < len(write.data))


def few_cuts(name: str, write: Wrote) -> Sequence[int]:
    """At the beginning, after the first byte, at each boundary, before the last byte; of segments in the middle."""
    if _SEGMENTS in name:
        return (len(write.data) // 2,)
    cuts = {0, 1, len(write.data) - 1, *write.boundaries}
    return sorted(cut for cut in cuts if 0 <= cut < len(write.data))


@dataclass(frozen=True, slots=True)
class CrashState:
    """A disk after a power cut, and how it came to be."""

    disk: DiskState
    how: str


class _File:
    """``contents``: what was synced, and what it became by each change since."""

    def __init__(self, durable: bytes = b"") -> None:
        self.contents = [durable]
        self.last: Wrote | Truncated | None = None
        self.dropped: list[tuple[int, int]] = []
        """Ranges that a failed sync may have left unwritten for good."""

    def change(self, change: Wrote | Truncated) -> None:
        self.contents.append(_changed(self.contents[-1], change))
        self.last = change
        if isinstance(change, Truncated):  # what comes behind it will be written anew
            cut = [(start, min(end, change.size)) for start, end in self.dropped]
            self.dropped = [(start, end) for start, end in cut if end > start]

    def fail_sync(self) -> None:
        self.dropped.append((len(self.contents[0]), len(self.contents[-1])))

    def sync(self) -> None:
        del self.contents[:-1]
        self.last = None

    @property
    def settled(self) -> bool:
        return self.last is None and not self.dropped

    def extremes(self) -> tuple[bytes, bytes]:
        """Nothing unsynced is there; everything is."""
        return self._without_dropped(self.contents[0]), self.contents[-1]

    def all_contents(self, name: str, cuts: Cuts) -> Iterator[tuple[str, bytes]]:
        for number, content in enumerate(self.contents):
            yield f"{number} of {len(self.contents) - 1} changes", content
            if self.dropped:
                yield f"{number} changes, but for what a failed sync dropped", self._without_dropped(content)
            if (missing := len(self.contents[-1]) - len(content)) > 0:
                yield f"{number} changes, then zeros", content + bytes(missing)
                yield f"{number} changes, then noise", content + _noise(missing)
        if isinstance(self.last, Wrote):
            boundaries = frozenset(boundary + off for boundary in self.last.boundaries for off in (-1, 0, 1))
            for number, cut in enumerate(cuts(name, self.last)):
                how = f"the last change torn at {cut} of {len(self.last.data)}"
                torn = self.contents[-2] + self.last.data[:cut]
                lost = len(self.last.data) - cut
                yield how, torn
                if number % 2 == 0 or cut in boundaries:
                    yield f"{how}, then zeros", torn + bytes(lost)
                if number % 2 or cut in boundaries:
                    yield f"{how}, then noise", torn + _noise(lost)

    def _without_dropped(self, content: bytes) -> bytes:
        for start, end in self.dropped:
            end = min(end, len(content))
            if end > start:
                content = content[:start] + bytes(end - start) + content[end:]
        return content


def _changed(content: bytes, change: Wrote | Truncated) -> bytes:
    match change:
        case Wrote(data=data):
            return content + data
        case Truncated(size=size):
            return content[:size] + bytes(max(0, size - len(content)))


def _noise(size: int) -> bytes:
    return (_NOISE * (size // len(_NOISE) + 1))[:size]


class CrashModel:
    """A disk as the entries applied so far made it."""

    def __init__(self, start: DiskState) -> None:
        self._files = {number: _File(start.files[name]) for number, name in enumerate(sorted(start.files))}
        self._names = {name: number for number, name in enumerate(sorted(start.files))}
        self._pending: list[Named] = []
        self._databases = dict(start.databases)

    def apply(self, entry: Entry) -> None:
        match entry:
            case Wrote(file=number) | Truncated(file=number):
                self._files[number].change(entry)
            case Synced(file=number):
                self._files[number].sync()
            case SyncFailed(file=number):
                self._files[number].fail_sync()
            case Named(entries=entries):
                self._pending.append(entry)
                for _, made in entries:
                    if made is not None:
                        self._files.setdefault(made, _File())
            case FolderSynced(folder=folder):
                for change in self._pending:
                    if _touches(change, folder):
                        _rename(self._names, change)
                self._pending = [change for change in self._pending if not _touches(change, folder)]
            case Committed(name=name, content=content):
                self._databases[name] = content
            case Noted():
                pass

    def states(self, cuts: Cuts) -> Iterator[CrashState]:
        """Every state within the bounds; some may be equal."""
        databases = dict(self._databases)
        for names, how in self._all_names():
            for kept in (0, -1):
                files = {name: self._files[number].extremes()[kept] for name, number in names.items()}
                yield CrashState(DiskState(files, databases), f"{how}; {'all' if kept else 'nothing'} unsynced")
        for chosen, how in ((self._pending, "all names"), ([], "no new names")):
            names = self._named(chosen)
            for name, number in names.items():
                file = self._files[number]
                if file.settled:
                    continue
                others = [{other: self._files[n].extremes()[kept] for other, n in names.items()} for kept in (0, -1)]
                if all(self._files[n].settled for other, n in names.items() if other != name):
                    others.pop()
                for files in others:
                    for what, content in file.all_contents(name, cuts):
                        state = DiskState({**files, name: content}, databases)
                        yield CrashState(state, f"{how}; {name}: {what}")

    def _all_names(self) -> Iterator[tuple[dict[str, int], str]]:
        count = len(self._pending)
        if count <= NAME_CHANGES_ALL:
            subsets = {subset for size in range(count + 1) for subset in combinations(range(count), size)}
        else:
            everything = tuple(range(count))
            subsets = {everything[:end] for end in range(count + 1)} | {everything[start:] for start in range(count)}
            subsets |= {(one,) for one in everything}
            subsets |= {tuple(number for number in everything if number != one) for one in everything}
        for subset in sorted(subsets):
            chosen = [self._pending[number] for number in subset]
            yield self._named(chosen), f"names changed: {[change.entries for change in chosen]}"

    def _named(self, changes: Sequence[Named]) -> dict[str, int]:
        names = dict(self._names)
        for change in changes:
            _rename(names, change)
        return names


def _touches(change: Named, folder: str) -> bool:
    return any(str(PurePosixPath(name).parent).removeprefix(".") == folder for name, _ in change.entries)


def _rename(names: dict[str, int], change: Named) -> None:
    for name, number in change.entries:
        if number is None:
            names.pop(name, None)
        else:
            names[name] = number
