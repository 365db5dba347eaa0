"""The value filter of a segment: rules out nothing that is there, most of what is not, and trusts no damaged byte."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from evenshard.errors import EvenshardError
from evenshard.events.hashing import hash_of
from evenshard.storage.segment.checksum import checksum_of
from evenshard.storage.segment.value_filter import lacks_any, read_page, read_trailer, values_bytes
from evenshard.storage.segment.value_keys import (
    ValueKeys,
    bits_of,
    bool_column,
    number_column,
    number_hash,
    open_column,
    presence_column,
    text_column,
)

SEED = 5


@dataclass
class Bytes:
    """A file that is read only."""

    data: bytes

    def size(self) -> int:
        return len(self.data)

    def read(self, offset: int, length: int) -> bytes:
        return self.data[offset : offset + length]


def unless_damaged(read: Callable[[], Any]) -> Any:
    try:
        return read()
    except EvenshardError as error:
        if error.code != "DATA_DAMAGED":
            raise
        return None


class Filter:
    """Looks up as a scan does; None: nothing can be told."""

    def __init__(self, data: bytes) -> None:
        self.file: Any = Bytes(data)
        self.trailer = unless_damaged(lambda: read_trailer(self.file, "f"))

    def may_hold(self, column: str, hashed: int) -> bool | None:
        if self.trailer is None:
            return None
        key = self.trailer.key_of(hash_of(column) ^ hashed)
        page = unless_damaged(lambda: read_page(self.file, self.trailer, self.trailer.page_of(key), "f"))
        return None if page is None else self.trailer.holds(page, key)

    def has_text(self, column: str, text: str) -> bool | None:
        return self.may_hold(column, hash_of(text))

    def has_number(self, name: str, number: float) -> bool | None:
        bits = bits_of(number)
        return False if bits is None else self.may_hold(number_column(name), int(number_hash(np.uint64(bits))))


def table_of(rows: int, first: int = 0) -> pa.Table:
    """Rows with every type; half of them without the properties."""
    numbers = np.arange(first, first + rows)

    def half(values: list[Any], kind: pa.DataType) -> pa.Array:
        return pa.array([value if at % 2 else None for at, value in enumerate(values)], kind)

    return pa.table(
        {
            "event": pa.array([f"event {at % 3}" for at in numbers]).dictionary_encode(),
            "distinct_id": pa.array([f"user {at // 4}" for at in numbers]),
            "time": pa.array(numbers),
            "insert_id": half([f"insert {at}" for at in numbers], pa.utf8()),
            "b:yes": half([True] * rows, pa.bool_()),
            "d:price": half((numbers / 8).tolist(), pa.float64()),
            "i:price": half((numbers * 1_000_003).tolist(), pa.int64()),
            "j:tags": half(["[1]"] * rows, pa.utf8()),
            "s:few": half([f"{at % 5}" for at in numbers], pa.utf8()).dictionary_encode(),
            "s:many": half([f"größe {at}" for at in numbers], pa.utf8()),
            "s:none": pa.nulls(rows, pa.utf8()),
            "placement_hash": pa.array(numbers.astype(np.uint64)),
        }
    )


def filter_of(*tables: pa.Table, number: int = 7) -> bytes:
    keys = ValueKeys(number)
    for table in tables:
        keys.add(table)
    return values_bytes(keys, 0)


@pytest.mark.parametrize("rows", [1, 2, 40, 999, 20_000])
def test_what_is_there_is_never_ruled_out(rows: int) -> None:
    found = Filter(filter_of(table_of(rows), table_of(rows, 7 * rows)))
    for at in {*range(min(rows, 300)), rows - 1}:
        assert found.has_text("event", f"event {at % 3}")
        assert found.has_text("distinct_id", f"user {at // 4}")
        if at % 2:
            assert found.has_text("insert_id", f"insert {at}")
            assert found.has_text(text_column("few"), f"{at % 5}")
            assert found.has_text(text_column("many"), f"größe {at + 7 * rows}")
            assert found.has_number("price", at / 8)
            assert found.has_number("price", at * 1_000_003)
            assert found.may_hold(bool_column("yes"), 1)
    if rows > 1:
        assert all(found.may_hold(presence_column(name), 0) for name in ("yes", "price", "tags", "few", "many"))


def test_what_is_not_there_is_ruled_out_but_for_one_in_two_hundred() -> None:
    print("seed", SEED)
    found = Filter(filter_of(table_of(20_000)))
    random = Random(SEED)
    asked = [(text_column("many"), random.randrange(1 << 64)) for _ in range(20_000)]
    assert sum(bool(found.may_hold(*question)) for question in asked) / len(asked) < 0.005
    three = [Filter(filter_of(table_of(2_000), number=number)) for number in range(3)]
    for column, value in [
        (bool_column("yes"), 0),
        (presence_column("none"), 0),
        (presence_column("time"), 0),
        (text_column("few"), hash_of("insert 1")),
    ]:
        assert sum(bool(each.may_hold(column, value)) for each in three) <= 1


def test_a_value_takes_less_than_one_and_a_half_bytes_and_one_that_repeats_nothing() -> None:
    keys = ValueKeys(7)
    strings = [f"{at:x}" for at in range(100_000)]
    keys.add(pa.table({"insert_id": pa.array(strings), "i:n": pa.array([at % 100 for at in range(100_000)])}))
    assert len(values_bytes(keys, 0)) < 1.4 * 100_101


@pytest.mark.parametrize(
    ("stored", "asked"),
    [
        (pa.array([3]), 3.0),
        (pa.array([3.0]), 3),
        (pa.array([-0.0]), 0),
        (pa.array([0]), -0.0),
        (pa.array([2**53 + 1]), 2**53 + 1),
        (pa.array([-(2**63)]), -(2.0**63)),
        (pa.array([2.0**63]), 2**63),
        (pa.array([1e300]), 1e300),
        (pa.array([1e300]), int(1e300)),
        (pa.array([0.1]), 0.1),
    ],
)
def test_numbers_are_found_by_value_whatever_their_type(stored: pa.Array, asked: float) -> None:
    column = "d:n" if pa.types.is_floating(stored.type) else "i:n"
    assert Filter(filter_of(pa.table({column: stored}))).has_number("n", asked)


@pytest.mark.parametrize(("stored", "asked"), [(2.0**53, 2**53 + 1), (1e300, 10**300), (0.1, 0), (2.0**63, 2**70)])
def test_numbers_that_differ_beyond_a_doubles_bits_are_two(stored: float, asked: int) -> None:
    assert Filter(filter_of(pa.table({"d:n": pa.array([stored])}))).has_number("n", asked) is False
    assert bits_of(10**400) is None
    assert bits_of(math.inf) is not None


def test_a_flipped_bit_anywhere_rules_nothing_out() -> None:
    data = filter_of(table_of(150))
    texts = [f"insert {at}" for at in range(1, 31, 2)]
    assert all(Filter(data).has_text("insert_id", text) for text in texts)
    told = 0
    for at in range(len(data)):
        for bit in (1, 128):
            flipped = Filter(data[:at] + bytes([data[at] ^ bit]) + data[at + 1 :])
            answers = [flipped.has_text("insert_id", text) for text in texts]
            assert False not in answers
            told += None in answers
    assert told > len(data)


def test_a_page_that_stands_in_place_of_another_is_not_taken_for_it() -> None:
    data = filter_of(table_of(5_000))
    found = Filter(data)
    assert found.trailer is not None
    places = found.trailer.ends_at
    read_page(found.file, found.trailer, 0, "f")
    moved: Any = Bytes(data[:places] + data[places + 4 : places + 12] + data[places + 8 :])
    with pytest.raises(EvenshardError, match="DATA_DAMAGED: f: page 0 of its values is not where it should be"):
        read_page(moved, found.trailer, 0, "f")


def test_what_one_segment_lets_by_another_does_not() -> None:
    """Values that are everywhere look like other ones in each segment."""
    data = []
    for number in range(2):
        keys = ValueKeys(number)
        keys.add(table_of(5_000))
        data.append(values_bytes(keys, 0))
    let_by = [{at for at in range(20_000) if Filter(one).has_text("insert_id", f"{at}")} for one in data]
    assert all(len(each) > 30 for each in let_by)
    assert len(let_by[0] & let_by[1]) < 5


@pytest.mark.parametrize("kept", [0, 10, 100])
def test_a_file_that_is_cut_or_has_no_values_rules_nothing_out(kept: int) -> None:
    data = filter_of(table_of(150))
    assert Filter(data[:kept]).has_text("insert_id", "insert 1") is None
    assert Filter(data[:-1]).has_text("insert_id", "insert 1") is None


def test_a_newer_format_is_refused() -> None:
    data = bytearray(filter_of(table_of(10)))
    data[-32:-30] = (2).to_bytes(2, "little")
    data[-8:] = checksum_of(bytes(data[-40:-8])).to_bytes(8, "little")
    with pytest.raises(EvenshardError, match="FORMAT_TOO_NEW: f has values of format 2, newer than 1"):
        Filter(bytes(data))


@pytest.mark.parametrize("keys_max", [3_000, 10])
def test_properties_with_too_many_values_are_given_up_and_fields_never(keys_max: int) -> None:
    keys = ValueKeys(7, keys_max)
    for first in range(0, 10_000, 1_000):
        keys.add(table_of(1_000, first))
    found = Filter(values_bytes(keys, 0))
    assert found.trailer is not None
    assert found.trailer.has_open
    assert found.may_hold(open_column(text_column("many")), 0)
    assert found.may_hold(open_column(number_column("price")), 0)
    assert found.may_hold(open_column(text_column("few")), 0) is False
    assert found.has_text(text_column("few"), "3")
    assert found.may_hold(presence_column("many"), 0)
    for at in range(1, 10_000, 2):
        assert found.has_text("insert_id", f"insert {at}")


def test_a_segment_of_very_many_values_gives_up_those_of_its_widest_properties() -> None:
    rows = 2_000
    wide = {f"i:n{column:02}": pa.array(np.arange(rows) * 1_000_003 + column) for column in range(40)}
    keys = ValueKeys(7)
    keys.add(pa.table({"insert_id": pa.array([f"{at}" for at in range(rows)]), **wide}))
    data = values_bytes(keys, 0)
    found = Filter(data)
    given_up = sum(bool(found.may_hold(open_column(number_column(f"n{column:02}")), 0)) for column in range(40))
    assert 30 <= given_up <= 34
    assert len(data) < 1.4 * (8 * rows + 4_200)


def test_a_filter_that_lacks_a_value_is_told() -> None:
    data = filter_of(table_of(500))
    file: Any = Bytes(data)
    trailer = read_trailer(file, "f")
    assert trailer is not None
    mine, other = ValueKeys(7), ValueKeys(7)
    mine.add(table_of(500))
    other.add(table_of(501))
    assert not lacks_any(file, trailer, mine.finish()[0], "f")
    assert lacks_any(file, trailer, other.finish()[0], "f")
    broken: Any = Bytes(data[:9] + bytes([data[9] ^ 1]) + data[10:])
    with pytest.raises(EvenshardError, match="DATA_DAMAGED: f: page 0 of its values is damaged"):
        lacks_any(broken, trailer, mine.finish()[0], "f")
