"""Recovers from every state a power cut may leave at every moment of a story, and checks what is then there."""

from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field

from evenshard.errors import EvenshardError
from evenshard.testing.faults.crash_states import CrashModel, CrashState, Cuts, few_cuts
from evenshard.testing.faults.journal import Noted
from evenshard.testing.faults.oracle import Found, Oracle
from evenshard.testing.faults.story import Story


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


@dataclass(slots=True)
class Explorer:
    """``recover_every``: of so many different states one is recovered from, of which one of ``follow_up_every`` is used
    further; ``depth``: power is cut again so often while the shard recovers, in one of ``cut_again_every`` recoveries
    that change the disk."""

    cuts: Cuts
    recover_every: int = 1
    follow_up_every: int = 1
    depth: int = 1
    cut_again_every: int = 1
    counts: Counts = field(default_factory=Counts)
    _met: int = 0

    def explore(self, story: Story, *, only_the_end: bool = False) -> Counts:
        """Raises ``WrongAfterCrashError`` at the first state that is not recovered from."""
        self._explore(story, self.cuts, self.depth, {}, only_the_end)
        return self.counts

    def _explore(
        self, story: Story, cuts: Cuts, depth: int, known: dict[Hashable, Found], only_the_end: bool = False
    ) -> None:
        for moment, oracle, state in moments(story, cuts, self.counts, only_the_end):
            key = state.disk.key()
            found = known.get(key)
            try:
                back = sorted(oracle.gone & state.disk.files.keys())
                if back:
                    raise AssertionError(f"{back} were said to be gone for good")
                if found is None:
                    self._met += 1
                    if self._met % self.recover_every:
                        continue
                    found = known[key] = self._recovered(story, oracle, state, depth, known)
                elif (fault := oracle.fault(found)) is not None:
                    raise AssertionError(fault)
            except (AssertionError, EvenshardError, OSError) as error:
                raise WrongAfterCrashError(f"at {moment}; {state.how}: {error!r}"[:4000]) from error

    def _recovered(
        self, story: Story, oracle: Oracle, state: CrashState, depth: int, known: dict[Hashable, Found]
    ) -> Found:
        self.counts.recovered = number = self.counts.recovered + 1
        after = Story(
            story.seed,
            start=state.disk,
            oracle=oracle,
            next_batch=oracle.last_number,
            log_file_bytes=story.settings.log_file_bytes,
        )
        after.open()
        found = after.found()
        changed = any(not isinstance(entry, Noted) for entry in after.disk.journal)
        if depth and changed and number % self.cut_again_every == 0:
            self.counts.recoveries_cut += 1
            self._explore(after, few_cuts, depth - 1, known)
        if number % self.follow_up_every == 0:
            self.counts.followed_up += 1
            after.follow_up()
        return found


def moments(
    story: Story, cuts: Cuts, counts: Counts, only_the_end: bool = False
) -> Iterator[tuple[str, Oracle, CrashState]]:
    """Every state at every moment of a story, with what is promised then."""
    model, oracle = CrashModel(story.disk.start), story.begin.copy()
    journal = list(story.disk.journal)
    for number, entry in enumerate([None, *journal]):
        if entry is not None:
            model.apply(entry)
            if isinstance(entry, Noted):
                oracle.note(entry.what)
        if only_the_end and number < len(journal):
            continue
        counts.moments += 1
        name = "the beginning" if entry is None else f"{number} of {len(journal)}, {type(entry).__name__}"
        for state in model.states(cuts):
            counts.states += 1
            yield name, oracle.copy(), state
