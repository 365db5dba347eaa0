"""What a store makes of the directory it is opened on."""

import pytest
from evenshard.errors import EvenshardError
from evenshard.ids import Epoch
from evenshard.storage.log.frame import Content, checksum, encode_frame
from evenshard.testing.events import append_of
from evenshard.testing.shard import ACME, Shard, click, operations


def test_a_clean_stop_leaves_an_end_marker_and_nothing_to_report() -> None:
    shard = Shard()
    shard.add(click(1))
    shard.store.close()
    shard.store.close()
    shard.open()
    assert shard.reports == []
    shard.store.close()
    shard.disk.flip("log/0000000001.log", shard.disk.open("log/0000000001.log").size() - 240)
    shard.open()
    assert "in quarantine" in shard.reports[0]  # the marker behind it says that it was synced


def test_a_torn_end_is_cut_and_reported_as_possibly_acked() -> None:
    shard = Shard()
    shard.add(click(1))
    shard.add(click(2))
    file = shard.disk.open("log/0000000001.log")
    file.truncate(file.size() - 5)
    shard.open()
    assert len(shard.reports) == 1
    assert "log/0000000001.log: cut at byte" in shard.reports[0]
    assert "possibly acked" in shard.reports[0]
    assert shard.all() == [(click(1), False)]
    assert shard.add(click(2)) == [False]
    shard.open()
    assert shard.reports == []
    assert shard.all() == [(click(1), False), (click(2), False)]


def test_what_a_start_makes_visible_is_synced_first() -> None:
    shard = Shard()
    shard.add(click(1))
    seen = operations(shard)
    shard.open()
    assert seen[-2:] == [("sync", "log/0000000001.log"), ("sync_directory", "log")]


def test_a_missing_log_file_is_damage() -> None:
    for lost in (1, 2):
        shard = Shard(log_file_bytes=1)
        for number in range(3):
            shard.add(click(number))
        shard.disk.unlink(f"log/000000000{lost}.log")
        with pytest.raises(EvenshardError) as error:
            shard.open()
        assert error.value.code == "DATA_DAMAGED"


def test_a_log_that_is_gone_is_damage_where_the_catalog_remembers_it() -> None:
    shard = Shard()
    shard.add(click(1))
    shard.store.compact(ACME)
    shard.store.close()
    shard.disk.unlink("log/0000000001.log")
    with pytest.raises(EvenshardError, match="there is no log"):
        shard.open()


def test_duplicate_bits_that_cannot_be_derived_again_are_damage() -> None:
    shard = Shard()
    append = append_of([click(1)])
    content = Content(ACME, Epoch(1), 1, b"\x01", append.payload, checksum(append.payload))
    frame = encode_frame(content, file_number=1, offset=104, first_row=0, synced_bytes=104)
    shard.disk.open("log/0000000001.log").write(frame)
    with pytest.raises(EvenshardError, match="duplicate bit of row 0") as error:
        shard.open()
    assert (error.value.code, error.value.details["offset"]) == ("DATA_DAMAGED", "104")


def test_files_of_an_interrupted_compaction_are_removed_at_start() -> None:
    shard = Shard()
    shard.add(click(1))
    shard.store._state.catalog.next_segment_id()
    shard.store.close()
    file = shard.disk.open("segments/0000000001.parquet", create=True)
    file.close()
    shard.open()
    assert shard.disk.list("segments") == []
    assert "segments/0000000001.parquet: removed" in shard.reports[0]


def test_a_missing_segment_file_keeps_the_shard_from_starting() -> None:
    shard = Shard()
    shard.add(click(1))
    shard.store.compact(ACME)
    (files,) = shard.segment_files()
    shard.store.close()
    shard.disk.unlink(files[0])
    with pytest.raises(EvenshardError) as error:
        shard.open()
    assert (error.value.code, error.value.details["file"]) == ("DATA_DAMAGED", files[0])
