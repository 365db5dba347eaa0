"""Exports are bounded by memory, and say when to come again; scans of queries never wait here."""

import pytest
from evenshard.errors import EvenshardError
from evenshard.shard.scan_room import EXPORT_BYTES, SCAN_BYTES, ScanRoom


def test_exports_are_refused_beyond_the_room_and_taken_again_when_one_ends() -> None:
    room = ScanRoom(2 * SCAN_BYTES + 2 * EXPORT_BYTES, threads=2)
    with room.export():
        with room.export(), room.scan(), room.scan(), room.scan():
            assert room.bytes == 2 * SCAN_BYTES + 2 * EXPORT_BYTES
            with pytest.raises(EvenshardError, match="2 exports read") as caught, room.export():
                pass
            assert (caught.value.code, caught.value.retry_after_ms) == ("OVERLOADED", 1000)
        with room.export():
            pass
    assert room.bytes == 0


def test_one_export_is_always_taken() -> None:
    with ScanRoom(0, threads=2).export():
        pass
