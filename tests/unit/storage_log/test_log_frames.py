"""The bytes of the log, and what a reader makes of a file that ends badly."""

from dataclasses import replace
from random import Random

import numpy as np
import pytest
from evenshard.errors import EvenshardError
from evenshard.ids import Epoch, ShardId, TenantId
from evenshard.storage.log.frame import (
    FILE_HEADER_BYTES,
    Content,
    FileHeader,
    Frame,
    checksum,
    encode_file_header,
    encode_frame,
    frame_bytes,
    packed_bits,
    parse_frame,
    unpacked_bits,
)
from evenshard.storage.log.reader import Hole, LogFile, LogFileReader, is_torn_creation, read_log_file

SHARD = ShardId("shard-0")
NAME = "log/0000000007.log"


def content(rows: int, payload: bytes, tenant: str = "acme") -> Content:
    bits = packed_bits(np.arange(rows) % 3 == 0)
    return Content(TenantId(tenant), Epoch(4), rows, bits, payload, checksum(payload))


def log_bytes(*contents: Content | None, first_row: int = 100) -> tuple[bytes, list[int]]:
    """A file of these frames (None: an end marker), each a group of its own, and where each begins."""
    data = encode_file_header(FileHeader(SHARD, 7, first_row))
    offsets = []
    row = first_row
    for each in contents:
        offsets.append(len(data))
        buffers = encode_frame(each, file_number=7, offset=len(data), first_row=row, synced_bytes=len(data))
        assert frame_bytes(buffers) % 8 == 0
        data += b"".join(buffers)
        row += each.rows if each is not None else 0
    return data, offsets


def read(data: bytes, *, last: bool = True, synced_row: int = 0) -> LogFile:
    return read_log_file(data, NAME, 7, SHARD, last=last, synced_row=synced_row)


def damage(data: bytes, *, last: bool = True, synced_row: int = 0) -> int:
    """The offset that is said to be damaged."""
    with pytest.raises(EvenshardError) as error:
        read(data, last=last, synced_row=synced_row)
    assert error.value.code == "DATA_DAMAGED"
    assert error.value.details["file"] == NAME
    return int(error.value.details["offset"])


def _offset_of_damage(data: bytes) -> int | None:
    try:
        read(data)
    except EvenshardError as error:
        return int(error.details.get("offset", 0))
    return None


def test_frames_come_back_as_written() -> None:
    data, offsets = log_bytes(content(5, b"payload"), content(17, bytes(range(256)), "other"), None)
    log_file = read(data)
    assert (log_file.first_row, log_file.end_row, log_file.end_offset) == (100, 122, len(data))
    assert (log_file.clean, log_file.torn) == (True, "")
    first, second = log_file.frames
    assert (first.tenant, first.epoch, first.first_row, first.rows) == ("acme", 4, 100, 5)
    assert (second.tenant, second.first_row, second.end_row) == ("other", 105, 122)
    assert bytes(first.payload) == b"payload"
    assert bytes(second.payload) == bytes(range(256))
    assert unpacked_bits(first.bits, 5).tolist() == [True, False, False, True, False]
    assert [first.offset, second.offset] == offsets[:2]
    assert first.synced_bytes == offsets[0]


def test_the_payload_is_not_copied_on_writing() -> None:
    payload = b"x" * 100
    assert encode_frame(content(1, payload), file_number=1, offset=0, first_row=0, synced_bytes=0)[1] is payload


def test_a_log_without_an_end_marker_was_not_stopped_cleanly() -> None:
    assert not read(log_bytes(content(5, b"a"))[0]).clean
    assert not read(log_bytes(None, content(5, b"a"))[0]).clean
    assert not read(log_bytes()[0]).clean
    assert read(log_bytes(None)[0]).clean


def test_a_torn_end_is_cut_wherever_it_is_torn() -> None:
    data, offsets = log_bytes(content(5, b"first"), content(9, b"second" * 9))
    for cut in range(offsets[1] + 1, len(data)):
        log_file = read(data[:cut])
        assert (log_file.end_offset, log_file.end_row, len(log_file.frames)) == (offsets[1], 105, 1), cut
        assert log_file.torn, cut
    assert read(data[: offsets[1]]).torn == ""


def test_noise_and_zeros_after_a_torn_end_are_cut_too() -> None:
    data, offsets = log_bytes(content(5, b"first"), content(9, b"second" * 9))
    for seed in range(20):
        random = Random(seed)
        cut = random.randrange(offsets[1], len(data))
        lost = len(data) - cut
        for tail in (bytes(lost), random.randbytes(lost)):
            torn = data[:cut] + tail
            if torn != data:
                assert read(torn).end_offset == offsets[1], f"seed {seed}"


def test_every_flipped_bit_before_the_last_frame_is_damage_at_its_frame() -> None:
    data, offsets = log_bytes(content(5, b"first"), content(9, b"second"), content(3, b"third"))
    checked = 0
    for position in range(len(data[: offsets[2]])):
        flipped = bytearray(data)
        flipped[position] ^= 0x10
        found = _offset_of_damage(bytes(flipped))
        if found is None:  # padding holds nothing
            assert [bytes(frame.payload) for frame in read(bytes(flipped)).frames] == [b"first", b"second", b"third"]
        else:
            assert found == max([0, *(offset for offset in offsets if offset <= position)])
            checked += 1
    assert checked > offsets[2] - 40


def test_a_bad_frame_in_a_file_that_is_not_the_last_is_damage() -> None:
    data, offsets = log_bytes(content(5, b"first"), content(9, b"second"))
    assert damage(data[:-1], last=False) == offsets[1]
    assert read(data, last=False).end_row == 114


def test_a_bad_frame_that_the_catalog_knows_to_be_synced_is_damage() -> None:
    data, offsets = log_bytes(content(5, b"first"), content(9, b"second"))
    assert damage(data[:-1], synced_row=106) == offsets[1]
    assert read(data[:-1], synced_row=105).end_row == 105
    assert damage(data[: offsets[1]], synced_row=106) == offsets[1]


def test_an_end_marker_after_a_bad_frame_makes_it_damage() -> None:
    data, offsets = log_bytes(content(5, b"first"), None)
    flipped = bytearray(data)
    flipped[data.index(b"first")] ^= 1
    assert damage(bytes(flipped)) == offsets[0]


def test_a_missing_frame_is_damage() -> None:
    data, offsets = log_bytes(content(5, b"a"), content(5, b"b"), content(5, b"c"))
    assert damage(data[: offsets[1]] + data[offsets[2] :]) == offsets[1]


def test_an_imported_log_is_never_taken_for_frames() -> None:
    inner, _ = log_bytes(content(5, b"inner"))
    data, offsets = log_bytes(content(1, b"outer" + inner))
    assert read(data[:-1]).end_offset == offsets[0]


def test_another_shards_file_is_damage() -> None:
    data, _ = log_bytes()
    with pytest.raises(EvenshardError, match="not file 7 of shard-1"):
        read_log_file(data, NAME, 7, ShardId("shard-1"), last=True)


def test_a_newer_format_is_refused() -> None:
    header = bytearray(encode_file_header(FileHeader(SHARD, 7, 0)))
    header[8] = 3
    header[-8:] = checksum(bytes(header[:-8])).to_bytes(8, "little")
    with pytest.raises(EvenshardError) as error:
        read(bytes(header))
    assert error.value.code == "FORMAT_TOO_NEW"


def test_a_creation_that_was_cut_off_is_known_by_its_size() -> None:
    header = encode_file_header(FileHeader(SHARD, 7, 0))
    assert is_torn_creation(b"")
    assert is_torn_creation(header[:-1])
    assert is_torn_creation(bytes(FILE_HEADER_BYTES))
    assert not is_torn_creation(header)
    assert not is_torn_creation(bytes(FILE_HEADER_BYTES + 1))


def test_a_frame_of_another_place_is_not_one() -> None:
    data, offsets = log_bytes(content(5, b"first"))
    moved = memoryview(data + data[offsets[0] :])
    assert isinstance(parse_frame(moved, offsets[0], 7), Frame)
    assert not isinstance(parse_frame(moved, len(data), 7), Frame)
    assert not isinstance(parse_frame(moved, offsets[0], 8), Frame)


def test_a_bytes_checksum_is_xxh64() -> None:
    assert checksum(b"") == 0xEF46DB3751D8E999
    assert checksum(b"abc") == 0x44BC2CF5AD770999


def test_hot_bits_come_back_as_written_and_cost_nothing_where_there_are_none() -> None:
    hot = np.arange(17) % 2 == 0
    plain = content(17, b"payload")
    data, _ = log_bytes(plain, replace(plain, hot_bits=packed_bits(hot)), plain)
    first, second, third = read(data).frames
    assert [bytes(frame.hot_bits) for frame in (first, third)] == [b"", b""]
    assert unpacked_bits(second.hot_bits, 17).tolist() == hot.tolist()
    assert [bytes(frame.payload) for frame in (first, second, third)] == [b"payload"] * 3
    assert (second.end - second.offset) - (first.end - first.offset) == 8


def test_a_flipped_hot_bit_is_damage() -> None:
    plain = content(17, b"payload")
    data, (offset, _) = log_bytes(replace(plain, hot_bits=packed_bits(np.ones(17, np.bool_))), plain)
    at = data.index(b"\xff\xff\x01")
    assert damage(data[:at] + b"\xfe" + data[at + 1 :]) == offset


class Counting:
    """A file that counts the bytes it is asked for."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.asked_bytes = 0

    def read(self, offset: int, length: int) -> bytes:
        data = self.data[offset : offset + length]
        self.asked_bytes += len(data)
        return data

    def size(self) -> int:
        return len(self.data)


def test_of_frames_that_are_not_wanted_only_the_header_is_read() -> None:
    data, offsets = log_bytes(*(content(5, bytes(1_000_000)) for _ in range(8)), None)
    source = Counting(data)
    reader = LogFileReader(source, NAME, 7, SHARD, last=True)
    frames = list(reader.pieces(lambda frame: frame.offset == offsets[3]))
    assert [frame.offset for frame in frames] == offsets[:-1]
    assert (reader.end_offset, reader.end_row, reader.clean) == (len(data), 140, True)
    assert 1_000_000 < source.asked_bytes < 1_700_000


def test_behind_a_hole_the_frames_are_read_on() -> None:
    data, offsets = log_bytes(*(content(5, bytes([number]) * 50) for number in range(5)))
    hurt = bytearray(data)
    hurt[offsets[1] + 2] ^= 1  # its magic: nothing of it is known
    hurt[offsets[3] + 100] ^= 1  # its payload
    reader = LogFileReader(Counting(bytes(hurt)), NAME, 7, SHARD, last=True)
    pieces = list(reader.pieces())
    holes = [piece for piece in pieces if isinstance(piece, Hole)]
    assert [piece.first_row for piece in pieces] == [100, 105, 110, 115, 120]
    assert [(hole.offset, hole.end, hole.end_row, hole.tenant) for hole in holes] == [
        (offsets[1], offsets[2], 110, None),
        (offsets[3], offsets[4], 120, "acme"),
    ]
