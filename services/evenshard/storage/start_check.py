"""What keeps a shard from starting on a directory: found by looking alone, before anything in it is changed.

A file is removed only where it is sure to be ours and of no use: its name is one we give, and its number one that the
catalog had reserved. Foreign files are left as they are and named, unless they could be taken for ours: then the shard
does not start.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

from evenshard.ids import ShardId
from evenshard.ports.disk import Disk
from evenshard.storage.catalog import Catalog
from evenshard.storage.catalog_rows import FILE
from evenshard.storage.layers import turning_points
from evenshard.storage.log.frame import FILE_HEADER_BYTES, Bad
from evenshard.storage.log.reader import check_file_header, damaged, is_torn_creation
from evenshard.storage.log.writer import FOLDER, file_name, file_number
from evenshard.storage.segment.info import FOLDER as SEGMENT_FOLDER

_SEGMENT_FILE = re.compile(r"(\d{10})\.(?:parquet|filter|filter\.new)")
_OWN_FILES = frozenset((FILE, f"{FILE}-wal", f"{FILE}-shm", f"{FILE}-journal"))
HALF_COPIED = (
    "is it a copy that is not whole? Copy the whole directory of a stopped shard again; "
    "where the rest is lost for good: evenshard fsck --repair"
)
TORN_CREATION = "it ends within its header: its creation was cut off, or else what it held was possibly acked"


@dataclass(frozen=True, slots=True)
class Directory:
    """A shard's directory that may be started on."""

    log_numbers: tuple[int, ...]
    """Of its log files, ascending; without a torn creation."""
    torn_creation: str
    """A last log file that was cut off while it was made, to be removed; empty: there is none. Where there is one, the
    file before it was synced to its end."""
    leftovers: tuple[str, ...]
    """Files of interrupted compactions, to be removed."""
    missing_segments: frozenset[int]
    """Ids of live segments without their Parquet file; only where that was allowed."""
    foreign: tuple[str, ...]
    """What is not ours and stays."""


def check_directory(
    disk: Disk, shard: ShardId, catalog: Catalog | None, report: Callable[[str], None], *, allow_missing: bool = False
) -> Directory:
    """Raises ``DATA_DAMAGED`` and ``FORMAT_TOO_NEW``, saying what to do. ``allow_missing``: files may be missing, which
    is then damage like any other."""
    log_names, segment_names = disk.list(FOLDER), disk.list(SEGMENT_FOLDER)
    foreign = [name for name in disk.list("") if name not in _OWN_FILES]
    numbers, foreign_logs = _log_numbers(log_names)
    foreign += foreign_logs
    segments = [match for name in segment_names if (match := _SEGMENT_FILE.fullmatch(name))]
    foreign += [f"{SEGMENT_FOLDER}/{name}" for name in segment_names if not _SEGMENT_FILE.fullmatch(name)]
    for name in foreign:
        report(f"{name}: left as it is, no file of a shard is called so")
    if catalog is None:
        if numbers or segments:
            found = f"{FOLDER}/" if numbers else f"{SEGMENT_FOLDER}/"
            raise damaged(FILE, 0, f"it is empty or missing, but there are files in {found}", HALF_COPIED)
        return Directory((), "", (), frozenset(), tuple(foreign))
    torn = _torn_creation(disk, shard, numbers, catalog, allow_missing=allow_missing)
    _check_log(disk, shard, numbers, catalog, allow_missing=allow_missing)
    leftovers, missing = _check_segments(segment_names, segments, catalog, allow_missing=allow_missing)
    return Directory(tuple(numbers), torn, leftovers, missing, tuple(foreign))


def _log_numbers(names: list[str]) -> tuple[list[int], list[str]]:
    numbers, foreign = [], []
    for name in names:
        number = file_number(name)
        if number is not None and file_name(number) == f"{FOLDER}/{name}":
            numbers.append(number)
        elif name.endswith(".log"):
            raise damaged(
                f"{FOLDER}/{name}", 0, "its name is not one of a log file, but could be taken for one", "move it away"
            )
        else:
            foreign.append(f"{FOLDER}/{name}")
    return sorted(numbers), foreign


def _torn_creation(disk: Disk, shard: ShardId, numbers: list[int], catalog: Catalog, *, allow_missing: bool) -> str:
    """Takes the last file out of ``numbers`` where it is the rest of a creation; returns its name."""
    if not numbers or not is_torn_creation(_begin(disk, numbers[-1])):
        return ""
    if len(numbers) == 1 and synced_row(catalog) and not allow_missing:
        raise damaged(file_name(numbers[-1]), 0, "its header is bad, and it is all there is of the log", HALF_COPIED)
    return file_name(numbers.pop())


def _check_log(disk: Disk, shard: ShardId, numbers: list[int], catalog: Catalog, *, allow_missing: bool) -> None:
    first_row = None
    for number in numbers:
        found = check_file_header(_begin(disk, number), file_name(number), number, shard)
        if number == numbers[0] and not isinstance(found, Bad):
            first_row = found.first_row
    if allow_missing:
        return
    known = {each.file for each in catalog.quarantined if each.offset == 0}
    for before, after in pairwise(numbers):
        if after != before + 1 and file_name(before + 1) not in known:
            raise damaged(file_name(before + 1), 0, f"it is missing, but {file_name(after)} is there", HALF_COPIED)
    synced = synced_row(catalog)
    if not numbers and synced:
        raise damaged(file_name(1), 0, f"there is no log, but rows up to {synced} were written to it", HALF_COPIED)
    indexed = indexed_row(catalog)
    if first_row is not None and first_row > indexed and not are_known_lost(catalog, indexed, first_row):
        raise damaged(file_name(numbers[0]), 0, f"rows {indexed} to {first_row - 1} are missing before it", HALF_COPIED)


def _check_segments(
    names: list[str], segments: list[re.Match[str]], catalog: Catalog, *, allow_missing: bool
) -> tuple[tuple[str, ...], frozenset[int]]:
    existing = {f"{SEGMENT_FOLDER}/{name}" for name in names}
    infos = catalog.all_segments
    quarantined = {each.file for each in catalog.quarantined if each.is_in_force}
    missing = {info.id: info.parquet for info in infos if info.parquet not in existing}
    absent = sorted(name for name in missing.values() if name not in quarantined)
    if absent and not allow_missing:
        raise damaged(absent[0], 0, f"the catalog lists it, but it is missing{_and_more(len(absent))}", HALF_COPIED)
    live = {name for info in infos for name in info.files}
    leftovers = []
    for match in segments:
        name = f"{SEGMENT_FOLDER}/{match.string}"
        if name in live:
            continue
        if int(match[1]) >= catalog.segment_ids_below:
            raise damaged(
                name,
                0,
                "it is no segment of this shard, which has not come to its number yet",
                "files of several shards or copies are mixed here: move it away",
            )
        leftovers.append(name)
    return tuple(sorted(leftovers)), frozenset(missing)


def _and_more(count: int) -> str:
    return f", and {count - 1} more" if count > 1 else ""


def _begin(disk: Disk, number: int) -> bytes:
    file = disk.open(file_name(number))
    try:
        return file.read(0, FILE_HEADER_BYTES + 1)
    finally:
        file.close()


def are_known_lost(catalog: Catalog, first_row: int, end_row: int) -> bool:
    """Whether it is on record that all rows from ``first_row`` to ``end_row`` (exclusive) are not there any more."""
    return any(
        each.first_row <= first_row and end_row <= each.end_row and not each.is_mended for each in catalog.quarantined
    )


def indexed_row(catalog: Catalog) -> int:
    """Somebody's rows up to it are indexed: log files before it may be gone."""
    return max((catalog.mark(tenant) for tenant in catalog.tenants()), default=0)


def synced_row(catalog: Catalog) -> int:
    """Rows below it are known to have been synced: indexed, or a deletion, a repair or a clean stop came after them."""
    positions = [record.position for tenant in catalog.tenants() for record in catalog.deletions(tenant)]
    positions += [since for tenant in catalog.tenants() for since in turning_points(catalog.layers(tenant).values())]
    return max([indexed_row(catalog), catalog.stopped_row, *positions])
