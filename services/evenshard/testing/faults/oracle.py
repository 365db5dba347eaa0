"""What must be stored: derived from a seed and from what was sent and answered, never from what the store says. Pure.

Every row carries the number of its batch, so that what is found says which batches are there, and whether whole.
"""

from collections.abc import Hashable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from functools import lru_cache
from random import Random
from typing import Self

from evenshard.testing.events import Event

DAY_MS = 86_400_000
FIRST_DAY = 20_000
BATCH_COLUMN = "i:batch"
USERS = tuple(f"user-{number}" for number in range(5))

Rows = Sequence[tuple[Event, bool]]
Found = Mapping[str, Rows]
"""Events with their duplicate bits, by tenant."""


@lru_cache(maxsize=4096)
def event_of(seed: int, number: int) -> Event:
    """The same event for the same seed and number, always; one in eight has no insert_id."""
    random = Random(f"event {seed} {number}")
    return Event(
        random.choice(["view", "click", "buy"]),
        random.choice(USERS),
        DAY_MS * (FIRST_DAY + random.randrange(2)) + random.randrange(DAY_MS),
        None if random.random() < 0.125 else f"event-{number}",
        {"s:shop": f"shop-{random.randrange(3)}"},
    )


@dataclass(frozen=True, slots=True)
class Batch:
    """The events with these numbers, sent together as batch ``number`` of a run."""

    number: int
    tenant: str
    events: tuple[int, ...]

    def rows(self, seed: int) -> list[Event]:
        """As they are sent."""
        made = [event_of(seed, event) for event in self.events]
        return [replace(event, properties={**event.properties, BATCH_COLUMN: self.number}) for event in made]


@dataclass(frozen=True, slots=True)
class Sent:
    """Batches are on their way, in one group."""

    batches: tuple[Batch, ...]


@dataclass(frozen=True, slots=True)
class Acked:
    """A batch was acknowledged at an epoch, which is the least the shard knows from then on."""

    batch: Batch
    epoch: int = 0


@dataclass(frozen=True, slots=True)
class Refused:
    """A batch was refused for certain: it is not stored, and never will be."""

    batch: Batch


@dataclass(frozen=True, slots=True)
class Deletion:
    """Deletion ``number`` of a run, numbered together with batches: hides what was stored before it."""

    number: int
    tenant: str
    users: tuple[str, ...] = ()
    horizon_ms: int = 0

    def hides(self, event: Event) -> bool:
        return event.distinct_id in self.users or event.time < self.horizon_ms


@dataclass(frozen=True, slots=True)
class Deleting:
    """A deletion is on its way."""

    deletion: Deletion


@dataclass(frozen=True, slots=True)
class Deleted:
    """A deletion was acknowledged."""

    deletion: Deletion


@dataclass(frozen=True, slots=True)
class Kept:
    """A deletion was refused for certain."""

    deletion: Deletion


@dataclass(frozen=True, slots=True)
class Purged:
    """It was said that these files, which held what was deleted, are gone for good."""

    files: frozenset[str]


@dataclass(frozen=True, slots=True)
class Damaged:
    """While the shard was down a file was damaged: these batches of a tenant are lost, by number, and what is asked of
    the tenant is refused from then on."""

    file: str
    tenant: str
    batches: frozenset[int]


@dataclass(frozen=True, slots=True)
class Served:
    """A store opened and showed exactly these batches and deletions, by number: from now on they are promised, and no
    others are."""

    numbers: frozenset[int]
    deletions: frozenset[int] = frozenset()


@dataclass(slots=True)
class Oracle:
    """What is promised after some notes, and what may be there besides."""

    seed: int
    promised: dict[int, Batch] = field(default_factory=dict)
    doubtful: dict[int, Batch] = field(default_factory=dict)
    deletions: dict[int, Deletion] = field(default_factory=dict)
    doubtful_deletions: dict[int, Deletion] = field(default_factory=dict)
    epochs: dict[str, int] = field(default_factory=dict)
    """By tenant the least epoch the shard must know."""
    gone: frozenset[str] = frozenset()
    """Files that must never be there again."""
    damaged: dict[str, str] = field(default_factory=dict)
    """By tenant the file that was."""

    def copy(self) -> Self:
        return replace(
            self,
            promised=dict(self.promised),
            doubtful=dict(self.doubtful),
            deletions=dict(self.deletions),
            doubtful_deletions=dict(self.doubtful_deletions),
            epochs=dict(self.epochs),
            damaged=dict(self.damaged),
        )

    def key(self) -> Hashable:
        """What decides, besides the disk, what is shown by who starts on it."""
        return ()

    @property
    def last_number(self) -> int:
        """Of all batches and deletions."""
        return max([0, *self.promised, *self.doubtful, *self.deletions, *self.doubtful_deletions])

    def note(self, what: object) -> None:
        match what:
            case Sent(batches):
                self.doubtful |= {batch.number: batch for batch in batches}
            case Acked(batch, epoch):
                self.epochs[batch.tenant] = max(epoch, self.epochs.get(batch.tenant, 0))
                self.promised[batch.number] = self.doubtful.pop(batch.number)
            case Refused(batch):
                del self.doubtful[batch.number]
            case Deleting(deletion):
                self.doubtful_deletions[deletion.number] = deletion
            case Deleted(deletion):
                self.deletions[deletion.number] = self.doubtful_deletions.pop(deletion.number)
            case Kept(deletion):
                del self.doubtful_deletions[deletion.number]
            case Purged(files):
                self.gone |= files
            case Damaged(file, tenant, batches):
                self.damaged[tenant] = file
                self.promised = {number: self.promised[number] for number in self.promised.keys() - batches}
            case Served(numbers, deletions):
                self.promised |= {number: self.doubtful[number] for number in self.doubtful.keys() & numbers}
                self.deletions |= {n: self.doubtful_deletions[n] for n in self.doubtful_deletions.keys() & deletions}
                self.doubtful.clear()
                self.doubtful_deletions.clear()

    def bits(self, batch: Batch) -> list[bool]:
        """The duplicate bits of a batch that is stored behind all that is promised, in order."""
        before = rows_of(self.seed, self.promised.values(), self.deletions.values()).get(batch.tenant, ())
        seen: set[object] = {event.identity for event, _ in before}
        bits = []
        for event in batch.rows(self.seed):
            bits.append(event.identity is not None and event.identity in seen)
            seen.add(event.identity)
        return bits

    def fault(self, found: Found, epochs: Mapping[str, int] | None = None) -> str | None:
        """Why what was found, and the epochs known with it, cannot be; None: it is right."""
        for tenant, epoch in self.epochs.items():
            if epochs is not None and epochs.get(tenant, 0) < epoch:
                return f"epoch {epoch} of {tenant} became {epochs.get(tenant, 0)}"
        return self._explained(found)[0]

    def served(self, found: Found) -> Served:
        """What was found, which must be right, says of what was in doubt."""
        fault, deletions = self._explained(found)
        assert fault is None, fault
        return Served(frozenset(batches_in(found)), deletions)

    def _explained(self, found: Found) -> tuple[str | None, frozenset[int]]:
        faults = []
        doubtful = sorted(self.doubtful_deletions)
        for count in range(len(doubtful) + 1):
            taken = frozenset(doubtful[:count])
            fault = self._fault(found, [*self.deletions.values(), *(self.doubtful_deletions[n] for n in taken)])
            if fault is None:
                return None, taken
            faults.append(fault)
        return faults[0], frozenset()

    def _fault(self, found: Found, deletions: Iterable[Deletion]) -> str | None:
        numbers = batches_in(found)
        known = self.promised | self.doubtful
        strange = sorted(numbers - known.keys())
        if strange:
            return f"batches {strange} are there, but were refused or never sent"
        expected = rows_of(self.seed, [known[n] for n in known if n in self.promised or n in numbers], deletions)
        lost = sorted(batches_in(expected) - numbers)
        if lost:
            return f"batches {lost} were acked and are lost"
        for tenant in sorted(expected.keys() | found.keys()):
            if (have := ordered(found.get(tenant, ()))) != (want := ordered(expected.get(tenant, ()))):
                return f"tenant {tenant}: {_difference(want, have)}"
        return None


def rows_of(
    seed: int, batches: Iterable[Batch], deletions: Iterable[Deletion] = ()
) -> dict[str, list[tuple[Event, bool]]]:
    """The rows of batches and deletions in the order of their numbers, with their bits: first stored wins."""
    rows: dict[str, list[tuple[Event, bool]]] = {}
    steps: list[Batch | Deletion] = [*batches, *deletions]
    for step in sorted(steps, key=lambda step: step.number):
        held = rows.setdefault(step.tenant, [])
        if isinstance(step, Deletion):
            held[:] = [(event, bit) for event, bit in held if not step.hides(event)]
            continue
        identities = {event.identity for event, _ in held}
        for event in step.rows(seed):
            held.append((event, event.identity is not None and event.identity in identities))
            identities.add(event.identity)
    return rows


def batches_in(found: Found) -> Set[int]:
    """The numbers of the batches of which at least one row is there."""
    return {int(str(event.properties[BATCH_COLUMN])) for rows in found.values() for event, _ in rows}


def ordered(rows: Rows) -> list[str]:
    """Comparable, whatever the order of the rows."""
    return sorted(
        f"{event.event}|{event.distinct_id}|{event.time}|{event.insert_id!r}|{sorted(event.properties.items())}|{bit}"
        for event, bit in rows
    )


def _difference(want: list[str], have: list[str]) -> str:
    missing = [row for row in want if want.count(row) > have.count(row)]
    extra = [row for row in have if have.count(row) > want.count(row)]
    return f"missing {missing[:3]} ({len(missing)}), too many {extra[:3]} ({len(extra)})"
