"""Recovers from every state a power cut may leave at every moment of a story, and checks what is then there."""

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from evenshard.errors import EvenshardError
from evenshard.storage.settings import StorageSettings
from evenshard.testing.faults.crash_states import CrashModel, CrashState, Cuts, few_cuts
from evenshard.testing.faults.journal import DiskState, Noted
from evenshard.testing.faults.oracle import Found, Oracle, ordered
from evenshard.testing.faults.recording_disk import RecordingDisk


class Played(Protocol):
    """What was done to shards on one disk, and notes in its journal of what was answered."""

    disk: RecordingDisk
    settings: StorageSettings

    @property
    def begin(self) -> Oracle:
        """What was promised before the journal begins."""
        ...

    def after(self, state: DiskState, oracle: Oracle) -> "Played":
        """Of who starts on a disk after a power cut."""
        ...

    def open(self) -> Found: ...

    def epochs(self) -> Mapping[str, int]: ...

    def follow_up(self) -> None:
        """What must be possible after any recovery. Raises ``AssertionError`` or ``EvenshardError``."""
        ...


class WrongAfterCrashError(AssertionError):
    """A power cut led to a wrong answer, or to a shard that does not start."""


@dataclass(slots=True)
class Counts:
    """What was enumerated: moments of stories, states at them, different ones; recoveries that were cut off in turn."""

    moments: int = 0
    states: int = 0
    recovered: int = 0
    followed_up: int = 0
    recoveries_cut: int = 0

    def add(self, other: "Counts") -> None:
        for name in ("moments", "states", "recovered", "followed_up", "recoveries_cut"):
            setattr(self, name, getattr(self, name) + getattr(other, name))


@dataclass(frozen=True, slots=True)
class Recovered:
    """What a shard shows that starts on a disk."""

    found: Found
    epochs: Mapping[str, int]
    """By tenant the one it knows."""

    def key(self) -> Hashable:
        """Equal for those between which no oracle sees a difference."""
        rows = tuple((tenant, tuple(ordered(self.found[tenant]))) for tenant in sorted(self.found))
        return rows, tuple(sorted(self.epochs.items()))


@dataclass(slots=True)
class Explorer:
    """``recover_every``: of so many different states one is recovered from, of which one of ``follow_up_every`` is used
    further; ``depth``: power is cut again so often while the shard recovers, in one of ``cut_again_every`` recoveries
    that change the disk. A state met before, in an earlier story too, is only held against what is promised now."""

    cuts: Cuts
    recover_every: int = 1
    follow_up_every: int = 1
    depth: int = 1
    cut_again_every: int = 1
    counts: Counts = field(default_factory=Counts)
    _met: int = 0
    _known: dict[Hashable, Recovered] = field(default_factory=dict)
    """By the state that was recovered from."""
    _shown: dict[Hashable, Recovered] = field(default_factory=dict)
    """Those that differ."""

    def explore(self, story: Played, *, only_the_end: bool = False, since: int = 0, step: int = 1) -> Counts:
        """From a moment on (the number of an entry of the journal), one of ``step``. Raises ``WrongAfterCrashError`` at
        the first state that is not recovered from."""
        self._explore(story, self.cuts, self.depth, len(story.disk.journal) if only_the_end else since, step)
        return self.counts

    def _explore(self, story: Played, cuts: Cuts, depth: int, since: int = 0, step: int = 1) -> None:
        size = story.settings.log_file_bytes
        for moment, oracle, states in moments(story, cuts, self.counts, since, step):
            right: set[int] = set()
            for state in states:
                key = size, oracle.key(), state.disk.key()
                try:
                    back = sorted(oracle.gone & state.disk.files.keys())
                    if back:
                        raise AssertionError(f"{back} were said to be gone for good")
                    known = self._known.get(key)
                    if known is None:
                        self._met += 1
                        if self._met % self.recover_every:
                            continue
                        known = self._recovered(story, oracle, state, depth)
                        self._known[key] = known = self._shown.setdefault(known.key(), known)
                    elif id(known) not in right and (fault := oracle.fault(known.found, known.epochs)) is not None:
                        raise AssertionError(fault)
                    right.add(id(known))
                except (AssertionError, EvenshardError, OSError) as error:
                    raise WrongAfterCrashError(f"at {moment}; {state.how}: {error!r}"[:4000]) from error

    def _recovered(self, story: Played, oracle: Oracle, state: CrashState, depth: int) -> Recovered:
        self.counts.recovered = number = self.counts.recovered + 1
        after = story.after(state.disk, oracle)
        shown = Recovered(after.open(), after.epochs())
        changed = any(not isinstance(entry, Noted) for entry in after.disk.journal)
        if depth and changed and number % self.cut_again_every == 0:
            self.counts.recoveries_cut += 1
            self._explore(after, few_cuts, depth - 1)
        if number % self.follow_up_every == 0:
            self.counts.followed_up += 1
            after.follow_up()
        return shown


def moments(
    story: Played, cuts: Cuts, counts: Counts, since: int = 0, step: int = 1
) -> Iterator[tuple[str, Oracle, Iterator[CrashState]]]:
    """Moments of a story, as ``Explorer.explore`` has them, what is promised then (before the next is looked at), and
    all states there may be."""
    model, oracle = CrashModel(story.disk.start), story.begin.copy()
    journal = list(story.disk.journal)
    for number, entry in enumerate([None, *journal]):
        if entry is not None:
            model.apply(entry)
            if isinstance(entry, Noted):
                oracle.note(entry.what)
        if number < since or (number - since) % step:
            continue
        counts.moments += 1
        name = "the beginning" if entry is None else f"{number} of {len(journal)}, {type(entry).__name__}"
        yield name, oracle, _counted(model.states(cuts), counts)


def _counted(states: Iterator[CrashState], counts: Counts) -> Iterator[CrashState]:
    for state in states:
        counts.states += 1
        yield state
