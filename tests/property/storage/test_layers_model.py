"""A key's rows set apart, brought back under other ids, deleted, and all of it undone, with the power cut anywhere:
the store's answers and duplicate bits are those of a list of events, before, between and after.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random

import numpy as np
import pytest
from evenshard.errors import EvenshardError
from evenshard.events.marked_rows import MarkedRows
from evenshard.ids import ShardId, TenantId
from evenshard.storage.append import Appended
from evenshard.storage.choosing import key_rows
from evenshard.storage.fsck import check
from evenshard.storage.layers import Change, Prepared
from evenshard.storage.settings import StorageSettings
from evenshard.storage.store import Store
from evenshard.testing.clock import ManualClock
from evenshard.testing.disk import MemoryDisk
from evenshard.testing.events import Event, all_events, append_of, event_batch, events_of_parts

TENANT = TenantId("acme")
DAY = 20_000
DAY_MS = 86_400_000
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
"""Of Parquet writers whose disk lost power."""


class PowerCutError(Exception):
    """The disk loses power at this operation."""


@dataclass(slots=True)
class Row:
    """One stored event of the model."""

    event: Event
    hot: bool
    duplicate: bool
    layer: str = ""


@dataclass(slots=True)
class State:
    """Of a layer."""

    shown: bool
    counts: bool


class Model:
    """Naive: everything is a look through a list."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.layers = {"": State(True, True)}

    def append(self, batch: list[Event]) -> list[bool]:
        bits = []
        for event in batch:
            bits.append(self.has(event))
            self.rows.append(Row(event, is_hot(event), bits[-1]))
        return bits

    def has(self, event: Event) -> bool:
        return event.identity is not None and any(
            row.event.identity == event.identity and not row.duplicate and self.layers[row.layer].counts
            for row in self.rows
        )

    def take(self, layer: str, *, rewritten_only: bool, with_property: bool) -> None:
        self.layers.setdefault(layer, State(True, True))
        for row in self.rows:
            wanted = row.event.distinct_id == "bob" and row.event.time // DAY_MS == DAY
            wanted &= not rewritten_only or row.hot
            wanted &= not with_property or new_id(row.event) is not None
            if wanted and self.layers[row.layer].shown:
                row.layer = layer

    def of(self, layer: str) -> list[Row]:
        return [row for row in self.rows if row.layer == layer]

    def settle(self, brought: str, rows: list[Row], changes: list[Change]) -> None:
        """``rows`` come first, as ``brought``."""
        coming: list[Row] = []
        for identity in dict.fromkeys(row.event.identity for row in rows):
            of_event = [row for row in rows if row.event.identity == identity]
            if identity is None:
                coming += of_event
                continue
            known = self.has(of_event[0].event)
            original = next((row for row in of_event if not row.duplicate), None)
            if original is None and not known:
                continue
            coming += [replace(row, duplicate=known or row is not original) for row in of_event]
        for change in changes:
            self.layers[change.layer] = State(change.shown, change.counts)
        self.rows += [replace(row, layer=brought) for row in coming]

    def answers(self) -> list[str]:
        return ordered([(row.event, row.duplicate) for row in self.rows if self.layers[row.layer].shown])


def is_hot(event: Event) -> bool:
    return event.distinct_id == "bob" and event.properties.get("b:late") is True


def new_id(event: Event) -> str | None:
    value = event.properties.get("s:email")
    return str(value) if value not in (None, "") else None


def ordered(rows: list[tuple[Event, bool]]) -> list[str]:
    def line(event: Event) -> str:
        properties = {name: value for name, value in event.properties.items() if value is not None}
        return f"{event.event}|{event.distinct_id}|{event.time}|{event.insert_id!r}|{sorted(properties.items())}"

    return sorted(f"{line(event)}|{bit}" for event, bit in rows)


class Story:
    """One store, its model, and chance."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        mask = self.random.choice([(1 << 64) - 1, 1])
        self.settings = StorageSettings(log_file_bytes=self.random.choice([1, 5_000, 1 << 20]), identity_hash_mask=mask)
        self.clock, self.disk, self.model = ManualClock(), MemoryDisk(), Model()
        self.operation = 0
        self.brought: dict[str, list[Row]] = {}
        self.open()

    def open(self) -> None:
        self.store = Store.open(self.disk, self.clock, ShardId("shard-0"), self.settings, lambda line: None)

    def surely(self, act: object) -> None:
        """Does ``act``, again after each power cut that ends it; answers are never others than before or after."""
        before = self.model.answers()
        for cuts_left in reversed(range(4)):
            left = [self.random.randrange(40) if cuts_left and self.random.random() < 0.7 else -1]

            def hook(operation: str, name: str, left: list[int] = left) -> None:
                if left[0] == 0:
                    raise PowerCutError
                left[0] -= 1

            self.disk.hook = hook
            try:
                act()  # type: ignore[operator]
                self.disk.hook = None
                return
            except PowerCutError:
                self.disk.hook = None
                self.disk = self.disk.crash(self.random)
                self.open()
                assert self.answers() in (before, self.after(before))

    def after(self, before: list[str]) -> list[str]:
        """What the act that was broken off may have made of it."""
        return getattr(self, "expected", before)

    def answers(self) -> list[str]:
        with self.store.snapshot(TENANT) as snapshot:
            found = ordered(all_events(snapshot))
            assert found == ordered(events_of_parts(snapshot))
            return found

    def check(self) -> None:
        assert self.answers() == self.model.answers()

    def some_events(self) -> list[Event]:
        chance = self.random
        return [
            Event(
                chance.choice("ab"),
                chance.choice(["bob", "bob", "bob", "eve", "ann", ""]),
                DAY_MS * DAY + chance.choice([0, 1, 2, DAY_MS]),
                chance.choice([None, "x", "y", "z"]),
                {
                    "s:email": chance.choice([None, "eve", "ann", "", "cat"]),
                    "b:late": chance.choice([True, False]),
                },
            )
            for _ in range(chance.randrange(1, 6))
        ]

    def append(self, batch: list[Event] | None = None) -> None:
        batch = batch or self.some_events()
        bits = np.array([is_hot(event) for event in batch])
        (outcome,) = self.store.append([replace(append_of(batch), hot=bits if bits.any() else None)])
        assert isinstance(outcome, Appended)
        assert outcome.duplicates.tolist() == self.model.append(batch)

    def idle(self) -> None:
        for _ in range(self.random.randrange(4)):
            match self.random.randrange(6):
                case 0:
                    self.surely(lambda: self.store.compact(TENANT))
                case 1:
                    self.store.sort_tail(TENANT)
                case 2:
                    self.store.close()
                    self.open()
                case 3:
                    self.disk = self.disk.crash(self.random)
                    self.open()
                case _:
                    self.append()
            self.check()

    def bring(self, layer: str, rows: list[Row]) -> None:
        """In pieces; sometimes one twice, as after a broken try."""
        pieces = [rows[at : at + 3] for at in range(0, len(rows), 3)]
        for number, piece in enumerate(pieces):
            for _ in range(self.random.choice([1, 1, 2])):
                marked = MarkedRows(
                    event_batch([row.event for row in piece]),
                    np.array([row.duplicate for row in piece]),
                    np.array([row.hot for row in piece]),
                )
                self.surely(lambda n=number, m=marked: self.store.repairs.bring(TENANT, layer, f"s/{n:06d}", m))
        stray = MarkedRows(event_batch([Event("stray", "x", DAY_MS * DAY)]), np.array([False]), np.array([False]))
        if self.random.random() < 0.3:
            self.surely(lambda: self.store.repairs.bring(TENANT, layer, "s/000099", stray))
        named = {f"s/{number:06d}" for number in range(len(pieces))}
        self.surely(lambda: self.store.repairs.end_of(TENANT, layer, lambda origin: origin in named))
        if self.random.random() < 0.5:
            self.surely(lambda: self.store.repairs.seal(TENANT, layer))

    def settle(self, operation: str, layer: str, rows: list[Row], changes: list[Change]) -> None:
        self.surely(lambda: self.store.repairs.prepare(TENANT, Prepared(operation, tuple(changes))))
        model = Model()
        model.rows, model.layers = [replace(row) for row in self.model.rows], dict(self.model.layers)
        model.settle(layer, rows, changes)
        self.expected = model.answers()
        self.surely(lambda: self.store.repairs.settle(TENANT, operation))
        del self.expected
        self.model = model
        self.check()

    def repair(self) -> None:
        self.operation += 1
        name = f"op{self.operation}"
        taken, brought = f"{name}.taken", f"{name}.brought"
        reassigns, rewritten_only = self.random.random() < 0.6, self.random.random() < 0.5
        source = "email" if reassigns else ""
        wanted = key_rows("bob", [DAY], rewritten_only=rewritten_only, distinct_id_from=source)
        self.surely(lambda: self.store.repairs.take(TENANT, taken, wanted))
        self.model.take(taken, rewritten_only=rewritten_only, with_property=reassigns)
        self.check()
        self.idle()
        rows = self.model.of(taken)
        moved = [replace(row, event=replace(row.event, distinct_id=str(new_id(row.event))), hot=False) for row in rows]
        if reassigns:
            self.bring(brought, moved)
            self.check()
            self.idle()
        changes = [Change(taken, shown=False, counts=reassigns), Change(brought, shown=True, counts=True)]
        self.settle(name, brought, moved if reassigns else [], changes)
        if moved and self.random.random() < 0.7:  # somebody sends what was repaired, under either id
            sent = [self.random.choice([row.event for row in (*moved, *rows)]) for _ in range(3)]
            self.append([replace(event, properties={"s:email": "again", "b:late": True}) for event in sent])
            self.check()
        self.idle()
        if self.random.random() < 0.5:
            self.undo(name, taken, brought, rows, reassigns=reassigns)

    def undo(self, name: str, taken: str, brought: str, rows: list[Row], *, reassigns: bool) -> None:
        if reassigns:
            freed = f"{name}u.brought"
            changes = [
                Change(brought, shown=False, counts=False, frees=freed),
                Change(taken, shown=True, counts=True),
                Change(freed, shown=True, counts=True),
            ]
            self.free(f"{name}u", brought, freed, changes)
        else:
            again = f"{name}u.brought"
            copies = [replace(row) for row in rows]
            self.bring(again, copies)
            self.idle()
            self.settle(f"{name}u", again, copies, [Change(again, shown=True, counts=True)])
        self.idle()

    def free(self, operation: str, brought: str, freed: str, changes: list[Change]) -> None:
        """Whoever sent an event too that was brought sees it still: one of the copies that were sent is the original
        now. Only where all are of other repairs, which keep what they brought, it is there once more."""
        self.surely(lambda: self.store.repairs.prepare(TENANT, Prepared(operation, tuple(changes))))
        if self.random.random() < 0.5:
            self.surely(lambda: self.store.repairs.free(TENANT, changes[0]))
        own = {row.event.identity for row in self.model.of(brought)} - {None}
        model = Model()
        model.rows, model.layers = [replace(row) for row in self.model.rows], dict(self.model.layers)
        model.settle("none", [], changes)
        left = [row for row in model.rows if model.layers[row.layer].shown and row.event.identity in own]
        orphans = {row.event.identity for row in left} - {row.event.identity for row in left if not row.duplicate}
        for cuts_left in reversed(range(3)):
            if self.cut(cuts_left, lambda: self.store.repairs.settle(TENANT, operation)):
                break
        found = self.answers()
        for identity in orphans:
            copies = [row for row in left if row.event.identity == identity]
            free_ones = [row for row in copies if not row.layer]
            original = next(row for row in copies if line_of(replace(row, duplicate=False)) in found)
            if free_ones:
                model.rows.remove(next(row for row in free_ones if line_of(row) == line_of(original)))
            model.rows.append(replace(original, duplicate=False, layer=freed))
        self.model = model
        self.check()

    def cut(self, cuts_left: int, act: Callable[[], None]) -> bool:
        """Does ``act``, or is cut off from power in it; False: it was."""
        left = [self.random.randrange(60) if cuts_left else -1]

        def hook(operation: str, name: str) -> None:
            if left[0] == 0:
                raise PowerCutError
            left[0] -= 1

        self.disk.hook = hook
        try:
            act()
        except PowerCutError:
            self.disk.hook = None
            self.disk = self.disk.crash(self.random)
            self.open()
            return False
        self.disk.hook = None
        return True


def line_of(row: Row) -> str:
    return ordered([(row.event, row.duplicate)])[0]


def run(seed: int) -> None:
    story = Story(seed)
    for _ in range(3):
        story.append()
        story.check()
        story.idle()
    for _ in range(2):
        story.repair()
    story.store.close()
    assert check(story.disk, story.clock, ShardId("shard-0"), lambda line: None).findings == []
    story.open()
    story.store.close()


@pytest.mark.parametrize("first_seed", [0])
def test_taken_brought_and_undone_rows_are_those_of_a_list(first_seed: int) -> None:
    for seed in range(first_seed, first_seed + 4):
        print(f"seed {seed}")
        run(seed)


@pytest.mark.parametrize("indexed", [False, True])
def test_a_copy_that_came_before_its_original_was_deleted_is_nobodys_first_copy(indexed: bool) -> None:
    """It came when the rows had been set apart: it is not among them, and stays a copy."""
    story = Story(1)
    event = Event("a", "bob", DAY_MS * DAY, "x", {})
    for taken in (False, True):
        if taken:
            story.store.repairs.take(TENANT, "op.taken", key_rows("bob", [DAY]))
        story.store.append([append_of([event])])
    story.store.repairs.prepare(TENANT, Prepared("op", (Change("op.taken", shown=False, counts=False),)))
    story.store.repairs.settle(TENANT, "op")
    if indexed:
        story.store.compact(TENANT)
    before = story.answers()
    assert len(before) == 1
    assert before[0].endswith("|True")
    (again,) = story.store.append([append_of([event])])
    assert isinstance(again, Appended)
    assert again.duplicates.tolist() == [False]
    story.store.compact(TENANT)
    story.store.close()
    story.open()
    assert story.answers() == sorted([*before, before[0].replace("|True", "|False")])
    story.store.close()


def test_only_a_layer_that_nobody_sees_and_nobody_meets_goes() -> None:
    story = Story(1)
    story.store.append([append_of([Event("a", "bob", DAY_MS * DAY, "x", {})])])
    story.store.repairs.take(TENANT, "op.taken", key_rows("bob", [DAY]))
    for number, counts in enumerate([True, True, False]):
        change = Change("op.taken", shown=number == 0, counts=counts)
        story.store.repairs.prepare(TENANT, Prepared(f"op{number}", (change,)))
        story.store.repairs.settle(TENANT, f"op{number}")
        if change.counts:
            with pytest.raises(EvenshardError, match="OPERATION_STATE"):
                story.store.repairs.drop(TENANT, ["op.taken"])
    story.store.repairs.drop(TENANT, ["op.taken"])
    assert story.disk.list("segments") == []
    story.store.close()


@pytest.mark.slow
@pytest.mark.parametrize("first_seed", range(1_000, 3_000, 100))
def test_many_more(first_seed: int) -> None:
    for seed in range(first_seed, first_seed + 100):
        print(f"seed {seed}")
        run(seed)
