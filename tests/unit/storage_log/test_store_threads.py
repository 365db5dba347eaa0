"""Appends, snapshots, sorting and compaction at the same time, on the real disk: nothing is lost, doubled or late."""

import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random

from evenshard.ids import Epoch, ShardId, TenantId
from evenshard.runtime.disk import LocalDisk
from evenshard.storage.sequencer import Sequencer
from evenshard.storage.settings import StorageSettings
from evenshard.storage.store import Store
from evenshard.testing.clock import ManualClock
from evenshard.testing.events import Event, all_events, append_of

ACME = TenantId("acme")
SEED = 20261121
BATCHES, BATCH_ROWS, POOL = 60, 40, 1_500
DEADLINE_S = 60.0


def test_everything_at_once_is_exact(tmp_path: Path) -> None:
    print("seed", SEED)
    disk = LocalDisk(tmp_path)
    settings = StorageSettings(log_file_bytes=100_000)
    store = Store.open(disk, ManualClock(), ShardId("shard-0"), settings, print)
    sequencer = Sequencer(store.append, queue_bytes_max=1 << 26, group_bytes_max=1 << 22)
    sent: Counter[Event] = Counter()
    sent_lock = threading.Lock()
    stop = threading.Event()
    failures: list[BaseException] = []

    def client(number: int) -> None:
        random = Random(SEED + number)
        for _ in range(BATCHES):
            events = [_event(random.randrange(POOL)) for _ in range(BATCH_ROWS)]
            sequencer.submit(append_of(events)).result(DEADLINE_S)
            with store.snapshot(ACME) as snapshot:
                seen = {event for event, duplicate in all_events(snapshot) if not duplicate}
            assert seen.issuperset(events), "an acked event is not in the next snapshot"
            with sent_lock:
                sent.update(events)

    def background() -> None:
        while not stop.is_set():
            store.sort_tail(ACME)
            store.compact(ACME)

    clients = [_thread(lambda number=number: client(number), failures) for number in range(2)]  # type: ignore[misc]
    worker = _thread(background, failures)
    for thread in clients:
        thread.join(DEADLINE_S)
    stop.set()
    worker.join(DEADLINE_S)
    sequencer.close()
    assert failures == []
    for _ in range(2):
        with store.snapshot(ACME) as snapshot:
            rows = all_events(snapshot)
        assert Counter(event for event, _ in rows) == sent
        assert Counter(event for event, duplicate in rows if not duplicate) == Counter(set(sent))
        store.close()
        store = Store.open(disk, ManualClock(), ShardId("shard-0"), settings, print)
    live = {name for segment in store.snapshot(ACME).segments for name in segment.files}
    assert {f"segments/{name}" for name in disk.list("segments")} == live
    store.close()
    disk.close()


def test_deletions_and_purges_beside_everything_are_exact(tmp_path: Path) -> None:
    """Each client has users of its own, so it knows each bit and each row there must be at any time."""
    print("seed", SEED)
    disk = LocalDisk(tmp_path)
    settings = StorageSettings(log_file_bytes=100_000)
    store = Store.open(disk, ManualClock(), ShardId("shard-0"), settings, print)
    sequencer = Sequencer(store.append, queue_bytes_max=1 << 26, group_bytes_max=1 << 22)
    stop = threading.Event()
    failures: list[BaseException] = []
    expected: list[Counter[tuple[Event, bool]]] = [Counter(), Counter()]

    def own_rows(number: int) -> Counter[tuple[Event, bool]]:
        with store.snapshot(ACME) as snapshot:
            return Counter(row for row in all_events(snapshot) if row[0].distinct_id.startswith(f"{number}-"))

    def client(number: int) -> None:
        random, held = Random(SEED + number), expected[number]
        for turn in range(BATCHES):
            events = [_event_of(f"{number}-{random.randrange(6)}", random.randrange(40)) for _ in range(BATCH_ROWS)]
            stored = {event for event, _ in held}
            bits = [event in stored or event in events[:at] for at, event in enumerate(events)]
            appended = sequencer.submit(append_of(events)).result(DEADLINE_S)
            assert appended.duplicates.tolist() == bits
            held.update(zip(events, bits, strict=True))
            if turn % 3 == 0:
                gone = f"{number}-{random.randrange(6)}"
                store.hide_users(ACME, Epoch(1), f"op-{number}-{turn}", [gone])
                for row in [row for row in held if row[0].distinct_id == gone]:
                    del held[row]
            assert own_rows(number) == held

    def background() -> None:
        while not stop.is_set():
            store.sort_tail(ACME)
            store.compact(ACME)
            store.purge_step(ACME)

    clients = [_thread(lambda number=number: client(number), failures) for number in range(2)]  # type: ignore[misc]
    worker = _thread(background, failures)
    for thread in clients:
        thread.join(DEADLINE_S)
    stop.set()
    worker.join(DEADLINE_S)
    sequencer.close()
    assert failures == []
    for _ in range(2):
        assert own_rows(0) + own_rows(1) == expected[0] + expected[1]
        store.close()
        store = Store.open(disk, ManualClock(), ShardId("shard-0"), settings, print)
    while store.purge_step(ACME):
        pass
    assert store.purge_status(ACME).purged
    assert sum(each.log_rows + each.segment_rows for each in store.storage(ACME)) == sum(
        (expected[0] + expected[1]).values()
    )
    store.close()
    disk.close()


def _event_of(user: str, number: int) -> Event:
    return Event("click", user, 1_700_000_000_000 + number * 3_600_000, f"i{number}")


def _event(number: int) -> Event:
    return Event("click", f"u{number % 97}", 1_700_000_000_000 + number * 3_600_000, f"i{number}")


def _thread(act: Callable[[], None], failures: list[BaseException]) -> threading.Thread:
    def run() -> None:
        try:
            act()
        except BaseException as error:  # noqa: BLE001 (the test asserts that there is none)
            failures.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread
