"""The bytes of the log: file headers and frames, encoded and parsed. Pure.

All integers are little-endian; every piece begins at a multiple of 8 bytes. Checksums are XXH64. A frame names its own
file and offset, so bytes that merely look like a frame (an imported log, a stale block) are never taken for one.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from evenshard.events.hashing import xxh64
from evenshard.ids import Epoch, ShardId, TenantId
from evenshard.kernels import kernel, view

FORMAT_VERSION = 2
"""2: frames may have spread bits, and may be copied; of those of version 1 nobody noted which rows were spread."""
SHARD_NAME_BYTES_MAX = 64

_FILE_MAGIC = b"EVSHLOG\n"
_FILE_HEADER = struct.Struct("<8sIIQQ64s")
FILE_HEADER_BYTES = _FILE_HEADER.size + 8

FRAME_MAGIC = b"\xe5EVFRAM\n"
_FRAME_HEADER = struct.Struct("<8sBBHIQQQQQQQ")
_NAME_BYTES = struct.Struct("<H")
_NAME_BYTES_AT = 10
_HAS_HOT_BITS = 1
"""Flag of a frame: hot bits follow the duplicate bits."""
_HAS_SPREAD_BITS = 2
"""Flag of a frame: spread bits follow those."""
_CHECKSUM_OF_NOTHING = 0xEF46DB3751D8E999
_CHECKSUM = struct.Struct("<Q")
FRAME_HEADER_BYTES = _FRAME_HEADER.size + 8


_NO_BITS = memoryview(b"")


class FrameKind(IntEnum):
    """What a frame holds."""

    EVENTS = 1
    END = 2
    """The marker of a clean stop."""
    COPIED = 3
    """Events of another shard, with their bits as they were decided there, and a note of how far its log was followed
    with them."""


@dataclass(frozen=True, slots=True)
class FileHeader:
    """``first_row``: position of the first row in this file or a later one."""

    shard: ShardId
    number: int
    first_row: int
    version: int = FORMAT_VERSION


@dataclass(frozen=True, slots=True)
class Content:
    """An event batch to be framed: ``bits`` are its duplicate bits, packed, least significant first; ``payload`` the
    Arrow IPC bytes as they were received; ``payload_checksum`` that of ``payload``."""

    tenant: TenantId
    epoch: Epoch
    rows: int
    bits: bytes
    payload: bytes | memoryview
    payload_checksum: int
    hot_bits: bytes = b""
    """Packed like ``bits``; empty: no event is hot."""
    spread_bits: bytes = b""
    """Packed like ``bits``; empty: no event is spread."""
    kind: FrameKind = FrameKind.EVENTS


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame as it stands in a file, from ``offset`` to ``end``; its rows are ``first_row`` to ``first_row + rows``
    (exclusive). ``synced_bytes`` of the file were durable before its group was written."""

    kind: FrameKind
    tenant: TenantId
    epoch: Epoch
    first_row: int
    rows: int
    synced_bytes: int
    bits: memoryview
    payload: memoryview
    offset: int
    end: int
    hot_bits: memoryview = _NO_BITS
    """Empty: no event is hot."""
    spread_bits: memoryview = _NO_BITS
    """Empty: no event is spread."""

    @property
    def end_row(self) -> int:
        return self.first_row + self.rows


@dataclass(frozen=True, slots=True)
class Bad:
    """What should stand here does not. ``tearable``: a write that was cut off may leave it so."""

    reason: str
    tearable: bool = True


@kernel(f"uint64({view('uint8')})")
def _xxh64(data):  # type: ignore[no-untyped-def]
    return xxh64(data, 0, data.size)


def checksum(data: bytes | memoryview) -> int:
    """XXH64 of some bytes."""
    return int(_xxh64(np.frombuffer(data, np.uint8))) if len(data) else _CHECKSUM_OF_NOTHING


def packed_bits(bits: npt.NDArray[np.bool_]) -> bytes:
    """Duplicate bits, or hot ones, as a frame holds them."""
    return np.packbits(bits, bitorder="little").tobytes()


def unpacked_bits(bits: bytes | memoryview, rows: int) -> npt.NDArray[np.bool_]:
    """The inverse of ``packed_bits``; bool[rows]."""
    return np.unpackbits(np.frombuffer(bits, np.uint8), count=rows, bitorder="little").view(np.bool_)


def encode_file_header(header: FileHeader) -> bytes:
    """``FILE_HEADER_BYTES`` bytes."""
    name = header.shard.encode()
    if len(name) > SHARD_NAME_BYTES_MAX:
        raise ValueError(f"a shard's name has at most {SHARD_NAME_BYTES_MAX} bytes: {header.shard!r}")
    body = _FILE_HEADER.pack(_FILE_MAGIC, header.version, 0, header.number, header.first_row, name)
    return body + _CHECKSUM.pack(checksum(body))


@dataclass(frozen=True, slots=True)
class TooNew:
    """A sound header of a format this version does not know."""

    version: int


def parse_file_header(data: bytes | memoryview) -> FileHeader | TooNew | Bad:
    """The header a file begins with."""
    if len(data) < FILE_HEADER_BYTES:
        return Bad("the file header is cut short")
    body = bytes(data[: _FILE_HEADER.size])
    magic, version, _, number, first_row, name = _FILE_HEADER.unpack(body)
    if magic != _FILE_MAGIC:
        return Bad("it does not begin like a log file")
    if _CHECKSUM.unpack_from(data, _FILE_HEADER.size)[0] != checksum(body):
        return Bad("the file header's checksum is wrong")
    if version > FORMAT_VERSION:
        return TooNew(version)
    return FileHeader(ShardId(name.rstrip(b"\0").decode()), number, first_row, version)


def encode_frame(
    content: Content | None, *, file_number: int, offset: int, first_row: int, synced_bytes: int
) -> list[bytes | memoryview]:
    """The buffers of a frame, to be written one after another at ``offset``; ``None`` encodes the end marker. The
    payload is one of them as it is, not copied."""
    if content is None:
        content = Content(TenantId(""), Epoch(0), 0, b"", b"", checksum(b""), kind=FrameKind.END)
    name = content.tenant.encode()
    header = _FRAME_HEADER.pack(
        FRAME_MAGIC,
        content.kind,
        (_HAS_HOT_BITS if content.hot_bits else 0) | (_HAS_SPREAD_BITS if content.spread_bits else 0),
        len(name),
        content.rows,
        file_number,
        offset,
        first_row,
        content.epoch,
        synced_bytes,
        len(content.payload),
        _joined_checksum(checksum(content.bits + content.hot_bits + content.spread_bits), content.payload_checksum),
    )
    head = b"".join(
        (
            header,
            _CHECKSUM.pack(checksum(header + name)),
            name,
            _padding(len(name)),
            content.bits,
            _padding(len(content.bits)),
            content.hot_bits,
            _padding(len(content.hot_bits)),
            content.spread_bits,
            _padding(len(content.spread_bits)),
        )
    )
    return [head, content.payload, _padding(len(content.payload))]


def head_bytes(data: memoryview) -> int:
    """How many bytes a frame's header takes with its tenant's name; ``data`` begins with the header."""
    return FRAME_HEADER_BYTES + int(_NAME_BYTES.unpack_from(data, _NAME_BYTES_AT)[0])


def parse_frame(
    data: memoryview, offset: int, file_number: int, *, header_only: bool = False, base: int = 0
) -> Frame | Bad:
    """The frame at ``offset`` of a file, of which ``data`` holds the bytes from ``base`` on; with ``header_only`` the
    content is neither needed nor checked."""
    at = offset - base
    if len(data) - at < FRAME_HEADER_BYTES:
        return Bad("a frame header is cut short")
    header = bytes(data[at : at + _FRAME_HEADER.size])
    fields = _FRAME_HEADER.unpack(header)
    magic, kind, flags, name_bytes, rows, number, own_offset, first_row, epoch, synced_bytes, payload_bytes, both = (
        fields
    )
    if magic != FRAME_MAGIC:
        return Bad("no frame begins here")
    name_at = at + FRAME_HEADER_BYTES
    name = bytes(data[name_at : name_at + name_bytes])
    if _CHECKSUM.unpack_from(data, at + _FRAME_HEADER.size)[0] != checksum(header + name):
        return Bad("a frame header's checksum is wrong")
    if (number, own_offset) != (file_number, offset):
        return Bad("a frame of another place stands here", tearable=False)
    if kind not in iter(FrameKind):
        return Bad(f"a frame of unknown kind {kind} stands here", tearable=False)
    if flags & ~(_HAS_HOT_BITS | _HAS_SPREAD_BITS):
        return Bad(f"a frame with unknown flags {flags} stands here", tearable=False)
    bits_at = name_at + _aligned(name_bytes)
    bits_bytes = (rows + 7) // 8
    hot_at = bits_at + _aligned(bits_bytes)
    hot_bytes = bits_bytes if flags & _HAS_HOT_BITS else 0
    spread_at = hot_at + _aligned(hot_bytes)
    spread_bytes = bits_bytes if flags & _HAS_SPREAD_BITS else 0
    payload_at = spread_at + _aligned(spread_bytes)
    end = payload_at + _aligned(payload_bytes)
    bits, hot_bits = data[bits_at : bits_at + bits_bytes], data[hot_at : hot_at + hot_bytes]
    spread_bits = data[spread_at : spread_at + spread_bytes]
    payload = data[payload_at : payload_at + payload_bytes]
    if not header_only:
        if end > len(data):
            return Bad("a frame is cut short")
        if _joined_checksum(checksum(bytes(bits) + hot_bits + spread_bits), checksum(payload)) != both:
            return Bad("a frame's checksum is wrong")
    return Frame(
        FrameKind(kind),
        TenantId(name.decode()),
        Epoch(epoch),
        first_row,
        rows,
        synced_bytes,
        bits,
        payload,
        offset,
        end + base,
        hot_bits,
        spread_bits,
    )


def frame_bytes(buffers: Sequence[bytes | memoryview]) -> int:
    """The size of what ``encode_frame`` gave."""
    return sum(len(buffer) for buffer in buffers)


def _joined_checksum(first: int, second: int) -> int:
    return checksum(struct.pack("<QQ", first, second))


def _aligned(size: int) -> int:
    return (size + 7) & ~7


def _padding(size: int) -> bytes:
    return bytes(-size & 7)
