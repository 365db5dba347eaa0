"""The Parquet file of a segment.

Columns: those of an event batch, then ``placement_hash``, ``duplicate``, ``hot``, and ``spread`` where a row is, or may
be; rows in segment order. Plain Parquet,
so that any reader opens it: zstd, page checksums, dictionaries where values repeat. The key/value metadata say what it
is. The footer is verified against the catalog's checksum before a Parquet reader sees it: a damaged one may crash it.
It holds the checksums of all blocks before it, which are verified likewise (``stream.py``).
"""

import struct
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from evenshard.errors import EvenshardError
from evenshard.events.batch import FIELD_NAMES, property_of
from evenshard.events.scan import DUPLICATE, HOT, PLACEMENT_HASH, SPREAD
from evenshard.ports.disk import File
from evenshard.storage.segment.checksum import checksum_of

FORMAT_VERSION = 1
ROW_GROUP_ROWS = 65_536
ROW_GROUP_BYTES = 64 << 20
"""Of decoded columns; a row group has at most so many, or one row."""
SEGMENT_ROWS_MAX = 2_000_000
SEGMENT_BYTES_MAX = 1 << 30
"""Of decoded columns."""

STORAGE_FIELDS = (
    pa.field(PLACEMENT_HASH, pa.uint64(), nullable=False),
    pa.field(DUPLICATE, pa.bool_(), nullable=False),
    pa.field(HOT, pa.bool_(), nullable=False),
)
IDENTITY_HASH = "identity_hash"
"""uint64: a column of rows on their way into a segment, of which its filter is made; never written. Of merged rows they
are those of all of them, in any order: putting them into that of the rows would cost as much as the filter. Rows that
waited may be without it: their hashes go by themselves (``loose_hashes.py``)."""
KEY_FORMAT, KEY_TENANT, KEY_SHARD = "evenshard.format", "evenshard.tenant", "evenshard.shard"
KEY_HAS_DUPLICATES, KEY_HASH_VERSION = "evenshard.has_duplicates", "evenshard.hash_version"
KEY_BLOCKS = "evenshard.block_checksums"
"""Base64 of the little-endian XXH64 of each block of the file up to the footer."""

_MAGIC = b"PAR1"
_TRAILER = struct.Struct("<I4s")
TRAILER_BYTES = _TRAILER.size
_FOOTER_BYTES_MAX = 1 << 30
_SAMPLE_ROWS = 4096
_ALWAYS_DICTIONARY = frozenset({"event", "distinct_id", PLACEMENT_HASH})


@dataclass(frozen=True, slots=True)
class Encodings:
    """How columns are written."""

    dictionary: list[str]
    other: dict[str, str]


def repeats(column: pa.ChunkedArray) -> bool:
    """Whether a dictionary pays, judged by rows spread over the column."""
    if pa.types.is_dictionary(column.type):
        return True
    rows = len(column)
    step = max(1, rows // _SAMPLE_ROWS)
    sample = column.take(pa.array(range(0, rows, step), pa.int64())).drop_null()
    return len(sample) == 0 or len(sample.unique()) * 2 <= len(sample)


def encodings_for(table: pa.Table) -> Encodings:
    """Chosen by the rows of ``table``; they are good for the rows that follow it too."""
    dictionary, other = [], {"time": "DELTA_BINARY_PACKED"}
    for field, column in zip(table.schema, table.columns, strict=True):
        kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
        if field.name in _ALWAYS_DICTIONARY:
            dictionary.append(field.name)
        elif field.name in other or pa.types.is_boolean(kind):
            continue
        elif field.name != "insert_id" and repeats(column):
            dictionary.append(field.name)
        elif pa.types.is_integer(kind):
            other[field.name] = "DELTA_BINARY_PACKED"
        elif pa.types.is_string(kind):
            other[field.name] = "DELTA_LENGTH_BYTE_ARRAY"
    return Encodings(dictionary, other)


def read_footer(file: File, name: str) -> bytes:
    """The footer's bytes: metadata, its length, magic. Raises ``DATA_DAMAGED`` where there can be none."""
    size = file.size()
    trailer = file.read(max(0, size - _TRAILER.size), _TRAILER.size)
    if len(trailer) < _TRAILER.size or size < _TRAILER.size + len(_MAGIC):
        raise damaged(name, "it is cut short")
    length, magic = _TRAILER.unpack(trailer)
    total = length + _TRAILER.size
    if magic != _MAGIC or total + len(_MAGIC) > size or total > _FOOTER_BYTES_MAX:
        raise damaged(name, "its end is not that of a Parquet file")
    return file.read(size - total, total)


def verified_metadata(file: File, name: str, checksum: int) -> pq.FileMetaData:
    """The parsed footer, after its checksum was found right. Raises ``DATA_DAMAGED`` or ``FORMAT_TOO_NEW``."""
    footer = read_footer(file, name)
    if checksum_of(footer) != checksum:
        raise damaged(name, "the footer's checksum does not match")
    metadata = pq.read_metadata(pa.BufferReader(_MAGIC + footer))
    version = int(metadata.metadata[KEY_FORMAT.encode()])
    if version > FORMAT_VERSION:
        raise EvenshardError("FORMAT_TOO_NEW", f"{name} has format {version}, newer than {FORMAT_VERSION}")
    return metadata


def damaged(name: str, what: str) -> EvenshardError:
    return EvenshardError("DATA_DAMAGED", f"{name}: {what}", details={"file": name})


def column_rank(name: str) -> tuple[int, str]:
    """Sorts column names into the order of the file."""
    if name in FIELD_NAMES:
        return FIELD_NAMES.index(name), ""
    if property_of(name) is not None:
        return len(FIELD_NAMES), name
    return len(FIELD_NAMES) + 1 + ("rest", PLACEMENT_HASH, DUPLICATE, HOT, SPREAD, IDENTITY_HASH).index(name), ""
