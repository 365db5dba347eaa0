"""What must be stored: derived from a seed and from what was sent and answered, never from what the store says. Pure.

Every row carries the number of its batch, so that what is found says which batches are there, and whether whole.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random

from evenshard.testing.events import Event

DAY_MS = 86_400_000
FIRST_DAY = 20_000
BATCH_COLUMN = "i:batch"

Rows = Sequence[tuple[Event, bool]]
Found = Mapping[str, Rows]
"""Events with their duplicate bits, by tenant."""


def event_of(seed: int, number: int) -> Event:
    """The same event for the same seed and number, always; one in eight has no insert_id."""
    random = Random(f"event {seed} {number}")
    return Event(
        random.choice(["view", "click", "buy"]),
        f"user-{random.randrange(5)}",
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
class Served:
    """A store opened and showed exactly these batches, by number: from now on they are promised, and no others are."""

    numbers: frozenset[int]


@dataclass(slots=True)
class Oracle:
    """What is promised after some notes, and what may be there besides."""

    seed: int
    promised: dict[int, Batch]
    doubtful: dict[int, Batch]
    epochs: dict[str, int]
    """By tenant the least epoch the shard must know."""

    @staticmethod
    def of(seed: int) -> "Oracle":
        return Oracle(seed, {}, {}, {})

    def copy(self) -> "Oracle":
        return Oracle(self.seed, dict(self.promised), dict(self.doubtful), dict(self.epochs))

    def note(self, what: object) -> None:
        match what:
            case Sent(batches):
                self.doubtful |= {batch.number: batch for batch in batches}
            case Acked(batch, epoch):
                self.epochs[batch.tenant] = max(epoch, self.epochs.get(batch.tenant, 0))
                self.promised[batch.number] = self.doubtful.pop(batch.number)
            case Refused(batch):
                del self.doubtful[batch.number]
            case Served(numbers):
                self.promised |= {number: batch for number, batch in self.doubtful.items() if number in numbers}
                self.doubtful.clear()

    def bits(self, batch: Batch) -> list[bool]:
        """The duplicate bits of a batch that is stored behind all that is promised, in order."""
        seen = self._identities(batch.tenant)
        bits = []
        for event in batch.rows(self.seed):
            bits.append(event.identity is not None and event.identity in seen)
            seen.add(event.identity)
        return bits

    def fault(self, found: Found) -> str | None:
        """Why what was found cannot be; None: it is right."""
        numbers = batches_in(found)
        known = self.promised | self.doubtful
        lost = sorted(self.promised.keys() - numbers)
        if lost:
            return f"batches {lost} were acked and are lost"
        strange = sorted(numbers - known.keys())
        if strange:
            return f"batches {strange} are there, but were refused or never sent"
        expected = rows_of(self.seed, [known[number] for number in sorted(numbers)])
        for tenant in sorted(expected.keys() | found.keys()):
            if (have := ordered(found.get(tenant, ()))) != (want := ordered(expected.get(tenant, ()))):
                return f"tenant {tenant}: {_difference(want, have)}"
        return None

    def _identities(self, tenant: str) -> set[object]:
        batches = (batch for batch in self.promised.values() if batch.tenant == tenant)
        return {event.identity for batch in batches for event in batch.rows(self.seed)}


def rows_of(seed: int, batches: Iterable[Batch]) -> dict[str, list[tuple[Event, bool]]]:
    """The rows of batches stored in this order, with their bits: first stored wins."""
    rows: dict[str, list[tuple[Event, bool]]] = {}
    seen: dict[str, set[object]] = {}
    for batch in batches:
        identities = seen.setdefault(batch.tenant, set())
        for event in batch.rows(seed):
            duplicate = event.identity is not None and event.identity in identities
            rows.setdefault(batch.tenant, []).append((event, duplicate))
            identities.add(event.identity)
    return rows


def batches_in(found: Found) -> Collection[int]:
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
