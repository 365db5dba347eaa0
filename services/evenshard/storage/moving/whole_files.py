"""Files whose rows need not be counted one by one, where the other side of a move has them too, byte for byte.

What a file contains is told by a hash of its footer, which has a checksum of each block of the file; all blocks are
read and verified before. So files of the same content have the same rows, and damage is found as by reading rows.
"""

from collections.abc import Collection
from hashlib import blake2b

from evenshard.storage.moving.slots import MovedSlots
from evenshard.storage.segment.info import SegmentInfo
from evenshard.storage.snapshot import Snapshot

CONTENT_BYTES = 16
FILES_MAX = 100_000
"""That are told; the rows of more are counted."""


def whole_files(
    snapshot: Snapshot, moved: MovedSlots, wanted: Collection[bytes] | None = None
) -> dict[bytes, SegmentInfo]:
    """By their content: segments all of whose rows are meant and shown, of those that are ``wanted``; None: of all.
    Raises ``DATA_DAMAGED``."""
    found: dict[bytes, SegmentInfo] = {}
    for info in snapshot.segments_shown_whole():
        if moved.has_all_of(info) and len(found) < FILES_MAX:
            content = content_of(info, snapshot.verified_footer(info))
            if wanted is None or content in wanted:
                found.setdefault(content, info)  # a second one that is the same would be rows that are there twice
    return found


def content_of(info: SegmentInfo, footer: bytes) -> bytes:
    """What is in a segment: its footer, and what only the catalog knows of its rows."""
    known = (info.rows, info.duplicates, info.hot_rows, info.spread_rows, info.min_time_ms, info.max_time_ms)
    return blake2b(footer + repr(known).encode(), digest_size=CONTENT_BYTES).digest()
