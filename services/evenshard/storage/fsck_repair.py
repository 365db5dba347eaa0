"""Repairs of a shard's directory that lose nothing that is not lost already; the shard must not run.

A torn end is cut, leftovers are removed, filters are made again, what cannot be read goes into quarantine, and what is
in quarantine and can be read again comes out of it. Nothing else is changed.
"""

from evenshard.ids import ShardId
from evenshard.ports.clock import Clock
from evenshard.ports.disk import Disk
from evenshard.storage.catalog import Catalog
from evenshard.storage.fsck import Checked, Say
from evenshard.storage.losses import accept, mend
from evenshard.storage.quarantine import quarantined_segment
from evenshard.storage.recovery import recover
from evenshard.storage.segment.filter import to_bytes
from evenshard.storage.segment.identities import rebuilt_filter, stored_values
from evenshard.storage.segment.info import FOLDER, SegmentInfo
from evenshard.storage.segment.reader import SegmentReader
from evenshard.storage.segment.value_filter import values_bytes
from evenshard.storage.settings import StorageSettings


def repair(disk: Disk, clock: Clock, shard: ShardId, checked: Checked, say: Say) -> None:
    """What ``check`` found. ``say`` gets a line for each thing done. Raises as a start does where nothing can be."""
    damaged = [(info, error) for info, error in checked.damaged_segments if error.code == "DATA_DAMAGED"]
    if damaged:
        catalog = Catalog.open(disk, shard)
        try:
            catalog.quarantine_at_start([quarantined_segment(info, error) for info, error in damaged])
        finally:
            catalog.close()
        for info, error in damaged:
            say(f"{info.parquet}: in quarantine ({info.rows} rows of {info.tenant}): {error.message}")
    for info in checked.damaged_filters:
        write_filter(disk, info)
        say(f"{info.filter}: made again from its segment")
    mend(disk, clock, shard, say)
    start_and_stop(disk, clock, shard, say)


def give_up(disk: Disk, clock: Clock, shard: ShardId, say: Say) -> None:
    """Accepts the loss of all that is in quarantine, after ``repair``. Raises as that."""
    accept(disk, clock, shard, say)
    start_and_stop(disk, clock, shard, say)


def start_and_stop(disk: Disk, clock: Clock, shard: ShardId, say: Say) -> None:
    """Settles what a start settles; missing files are damage like any other."""
    found = recover(disk, clock, shard, StorageSettings(), say, allow_missing=True)
    found.writer.abandon()
    found.catalog.close()


def write_filter(disk: Disk, info: SegmentInfo) -> None:
    """A segment's filters, made again; the old one is replaced at once or not at all."""
    reader = SegmentReader(disk, info)
    identities = to_bytes(rebuilt_filter(reader))
    data: list[bytes | memoryview] = [identities, values_bytes(stored_values(reader), len(identities))]
    name = f"{info.filter}.new"
    if name.removeprefix(f"{FOLDER}/") in disk.list(FOLDER):
        disk.unlink(name)
    file = disk.open(name, create=True)
    try:
        file.write(data)
        file.sync()
    finally:
        file.close()
    disk.rename(name, info.filter)
    disk.sync_directory(FOLDER)
