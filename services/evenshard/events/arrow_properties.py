"""Arrow columns as property columns: each value keeps its JSON type, what cannot be JSON is refused."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from evenshard.errors import EvenshardError, FieldFault
from evenshard.events import faults, limits
from evenshard.events.batch import PropertyType, property_column, property_of
from evenshard.events.hashing import string_buffers
from evenshard.events.json_values import value_fault
from evenshard.events.properties import fold
from evenshard.events.properties_json import read_objects
from evenshard.events.rejects import DecodeWarning
from evenshard.events.text import is_text, texts

AddFault = Callable[[npt.NDArray[np.bool_] | None, int, str], None]
"""Notes a fault for the rows of a mask: (rows, number, field)."""


def _refused(name: str, kind: pa.DataType) -> EvenshardError:
    wanted = "must be bool, integer, float, text, timestamp, date, or a list, struct or map of these but the last two"
    return EvenshardError(
        "COLUMN_TYPE", f"property column {name!r} is {kind}: it {wanted}", fields=(FieldFault(name, wanted),)
    )


def _is_json(kind: pa.DataType) -> bool:
    """Whether values of the type, nested or not, are JSON."""
    if pa.types.is_map(kind):
        return is_text(kind.key_type) and _is_json(kind.item_type)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return _is_json(kind.value_type)
    if pa.types.is_struct(kind):
        return all(_is_json(field.type) for field in kind)
    scalar = pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind)
    return scalar or is_text(kind)


def _is_value(kind: pa.DataType) -> bool:
    """Whether a column of the type may be a property."""
    if pa.types.is_dictionary(kind):
        return _is_value(kind.value_type)
    moment = pa.types.is_timestamp(kind) or pa.types.is_date(kind)
    return moment or pa.types.is_null(kind) or _is_json(kind)


def _timestamp_texts(array: pa.Array) -> pa.StringArray:
    """RFC 3339 in UTC. No zone data is needed: Arrow's timestamps are UTC inside."""
    plain = array.cast(pa.timestamp(array.type.unit)).cast(pa.utf8())
    return pc.binary_join_element_wise(pc.replace_substring(plain, " ", "T", max_replacements=1), "Z", "")


class PropertyReader:
    """Gathers the property columns of one payload and the faults of their values."""

    def __init__(self, rows: int, add_fault: AddFault) -> None:
        self._rows = rows
        self._add_fault = add_fault
        self._columns: dict[str, pa.Array] = {}

    def read(self, name: str, array: pa.Array, *, clean: bool) -> None:
        """Takes one column. Raises ``COLUMN_TYPE``."""
        kind = array.type
        if pa.types.is_null(kind):
            return
        if is_text(kind):
            found = texts(array, clean=clean)
            self._add_fault(found.invalid, faults.INVALID_UTF8, name)
            self._put(name, "s", found.array)
        elif pa.types.is_dictionary(kind):
            if not _is_value(kind.value_type):  # pyarrow cannot even look at dictionaries of some types
                raise _refused(name, kind)
            self.read(name, array.dictionary_decode(), clean=clean)
        elif pa.types.is_boolean(kind):
            self._put(name, "b", array)
        elif pa.types.is_integer(kind):
            self._read_integers(name, array)
        elif pa.types.is_floating(kind):
            self._read_floats(name, array)
        elif pa.types.is_timestamp(kind):
            self._put(name, "s", _timestamp_texts(array))
        elif pa.types.is_date(kind):
            self._put(name, "s", array.cast(pa.date32()).cast(pa.utf8()))
        elif pa.types.is_nested(kind) and _is_json(kind):
            self._read_nested(name, array)
        else:
            raise _refused(name, kind)

    def _put(self, name: str, kind: PropertyType, array: pa.Array) -> None:
        self._columns[property_column(name, kind)] = array

    def _read_integers(self, name: str, array: pa.Array) -> None:
        if pa.types.is_uint64(array.type):
            signed = array.view(pa.int64())
            self._add_fault(
                pc.less(signed, 0).fill_null(False).to_numpy(zero_copy_only=False), faults.NUMBER_OUT_OF_RANGE, name
            )
            array = signed
        self._put(name, "i", array.cast(pa.int64()))

    def _read_floats(self, name: str, array: pa.Array) -> None:
        array = array.cast(pa.float64())
        infinite = np.zeros(self._rows, np.bool_)
        if self._rows:
            infinite = ~np.isfinite(np.frombuffer(array.buffers()[1], np.float64, self._rows, array.offset * 8))
        if infinite.any():
            infinite &= array.is_valid().to_numpy(zero_copy_only=False)
            self._add_fault(infinite, faults.NUMBER_NOT_FINITE, name)
        self._put(name, "d", array)

    def _read_nested(self, name: str, array: pa.Array) -> None:
        """JSON texts, one by one: nested columns are rare, and what is within has rules of its own."""
        out: list[str | None] = []
        for row, scalar in enumerate(array):
            number, text = faults.FINE, None
            try:
                value = scalar.as_py(maps_as_pydicts="lossy")
                number = value_fault(value)
                if value is not None and number == faults.FINE:
                    text = orjson.dumps(value).decode()
            except UnicodeDecodeError:
                number = faults.INVALID_UTF8
            if number != faults.FINE:
                self._add_fault(_only(row, self._rows), number, name)
            out.append(text)
        self._put(name, "j", pa.array(out, pa.utf8()))

    def read_objects(self, texts: pa.StringArray) -> list[DecodeWarning]:
        """Takes ``properties_json``. Where a property has a column of its own, and a value in it, that one counts."""
        found = read_objects(texts)
        for row, detail in found.faults.items():
            self._add_fault(_only(row, self._rows), detail.number, detail.field)
        own: dict[str, npt.NDArray[np.bool_]] = {}
        for column, array in self._columns.items():
            own[column[2:]] = array.is_valid().to_numpy(zero_copy_only=False)
        for column, array in found.columns.items():
            named = property_of(column)
            if named is not None and named[0] in own:
                array = pc.if_else(pa.array(own[named[0]]), pa.scalar(None, array.type), array)
            before = self._columns.get(column)
            self._columns[column] = array if before is None else pc.coalesce(before, array)
        if not found.ignored:
            return []
        message = "keys of properties_json that are named like fields: the columns of that name count"
        return [DecodeWarning("FIELD_IGNORED", message, found.ignored)]

    def check_sizes(self, events: pa.DictionaryArray, distinct_ids: pa.StringArray, insert_ids: pa.StringArray) -> None:
        """Notes events with too many properties, or too large; counts nothing where no event can be."""
        if len(self._columns) > limits.PROPERTIES_MAX:
            counts = np.zeros(self._rows, np.int32)
            for array in self._columns.values():
                counts += array.is_valid().to_numpy(zero_copy_only=False)
            self._add_fault(counts > limits.PROPERTIES_MAX, faults.PROPERTIES_TOO_MANY, "properties")
        sizes = [_Sizes(distinct_ids, 0), _Sizes(insert_ids, 0), _Sizes(events.dictionary, 0)]
        for column, array in self._columns.items():
            named = property_of(column)
            sizes.append(_Sizes(array, len(named[0].encode()) if named else 0))
        if sum(each.largest for each in sizes) <= limits.EVENT_SIZE_BYTES_MAX:
            return
        total = np.zeros(self._rows, np.int64)
        for index, each in enumerate(sizes):
            total += each.of_rows(events.indices if index == 2 else None)
        self._add_fault(total > limits.EVENT_SIZE_BYTES_MAX, faults.EVENT_TOO_LARGE, "")

    def columns(self) -> dict[str, pa.Array]:
        """The property columns, ``rest`` among them if there are too many."""
        return fold(self._columns, self._rows)


def _only(row: int, rows: int) -> npt.NDArray[np.bool_]:
    mask = np.zeros(rows, np.bool_)
    mask[row] = True
    return mask


class _Sizes:
    """What one column adds to the size of its events."""

    def __init__(self, array: pa.Array, name_bytes: int) -> None:
        self._array, self._name_bytes = array, name_bytes
        self._text = pa.types.is_string(array.type)
        self.largest = name_bytes + (self._lengths().max(initial=0) if self._text else 1)

    def _lengths(self) -> npt.NDArray[np.int32]:
        lengths: npt.NDArray[np.int32] = np.diff(string_buffers(self._array).offsets)
        return lengths

    def of_rows(self, codes: pa.Array | None) -> npt.NDArray[np.int64]:
        """Bytes for each row; ``codes``: the column is a dictionary and these are its rows."""
        lengths = self._lengths().astype(np.int64) if self._text else np.ones(len(self._array), np.int64)
        if codes is not None:
            result: npt.NDArray[np.int64] = np.append(lengths, 0)[codes.fill_null(-1).to_numpy()]
            return result
        valid = self._array.is_valid().to_numpy(zero_copy_only=False)
        sizes: npt.NDArray[np.int64] = np.where(valid, lengths + self._name_bytes, 0)
        return sizes
