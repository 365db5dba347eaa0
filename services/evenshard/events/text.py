"""Arrow's kinds of text as plain utf8, and which rows are not UTF-8 (they are named, not refused wholesale)."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from evenshard.errors import EvenshardError
from evenshard.events import limits
from evenshard.events.hashing import string_buffers
from evenshard.kernels import kernel, view


@kernel(inline=True)
def utf8_valid(data, start, end):  # type: ignore[no-untyped-def]
    """Whether ``data[start:end]`` (uint8) is UTF-8 (RFC 3629). To be called from kernels."""
    at, stop, one = np.uint64(start), np.uint64(end), np.uint64(1)
    while at < stop:
        first = data[at]
        at += one
        if first < 0x80:
            continue
        low, high = 0x80, 0xBF
        if 0xC2 <= first <= 0xDF:
            more = 1
        elif 0xE0 <= first <= 0xEF:
            more = 2
            low = 0xA0 if first == 0xE0 else 0x80
            high = 0x9F if first == 0xED else 0xBF
        elif 0xF0 <= first <= 0xF4:
            more = 3
            low = 0x90 if first == 0xF0 else 0x80
            high = 0x8F if first == 0xF4 else 0xBF
        else:
            return False
        if at + np.uint64(more) > stop:
            return False
        for _ in range(more):
            if data[at] < low or data[at] > high:
                return False
            low, high = 0x80, 0xBF
            at += one
    return True


@kernel(f"void({view('int32')}, {view('uint8')}, boolean[::1])")
def _utf8_invalid(offsets, data, out):  # type: ignore[no-untyped-def]
    for i in range(out.size):
        out[i] = not utf8_valid(data, offsets[i], offsets[i + 1])


@dataclass(frozen=True, slots=True)
class Texts:
    """A column of text; ``invalid`` (None: none) says which rows were not UTF-8; these are null in ``array``."""

    array: pa.StringArray
    invalid: npt.NDArray[np.bool_] | None = None


def is_text(kind: pa.DataType) -> bool:
    """Whether ``texts`` reads such a column."""
    if pa.types.is_dictionary(kind):
        return is_text(kind.value_type)
    return any(
        test(kind) for test in (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view, pa.types.is_null)
    )


def _without_stray_views(array: pa.Array) -> pa.Array:
    """The same views, those of nulls empty: validation skips them wherever they point, a cast follows them."""
    buffers, rows = array.buffers(), len(array)
    valid = array.is_valid().to_numpy(zero_copy_only=False)
    views = np.frombuffer(buffers[1], np.uint8, 16 * rows, 16 * array.offset).reshape(rows, 16) * valid[:, np.newaxis]
    validity = pa.py_buffer(np.packbits(valid, bitorder="little"))
    return pa.Array.from_buffers(array.type, rows, [validity, pa.py_buffer(views.tobytes()), *buffers[2:]])


def plain_texts(array: pa.Array, *, clean: bool) -> Texts:
    """Text that is not dictionary-encoded as utf8. ``clean``: known to be UTF-8."""
    if pa.types.is_null(array.type):
        return Texts(pa.nulls(len(array), pa.utf8()))
    if pa.types.is_string_view(array.type) and array.null_count:
        array = _without_stray_views(array)
    if clean:
        return Texts(array if pa.types.is_string(array.type) else array.cast(pa.utf8()))
    twin = {pa.utf8(): pa.binary(), pa.large_utf8(): pa.large_binary(), pa.string_view(): pa.binary_view()}
    raw = array.view(twin[array.type]).cast(pa.binary())
    buffers = string_buffers(raw)
    invalid = np.empty(len(raw), np.bool_)
    _utf8_invalid(buffers.offsets, buffers.data, invalid)
    invalid &= buffers.valid
    return Texts(pc.if_else(pa.array(invalid), pa.scalar(None, pa.binary()), raw).cast(pa.utf8()), invalid)


def texts(array: pa.Array, *, clean: bool) -> Texts:
    """Any text column as utf8; a dictionary of long texts may not grow beyond ``DECODED_BYTES_MAX``."""
    if not pa.types.is_dictionary(array.type):
        return plain_texts(array, clean=clean)
    values = texts(array.dictionary, clean=clean)
    indices = array.indices.cast(pa.int64())
    sizes = np.diff(string_buffers(values.array).offsets).astype(np.int64)
    codes = indices.drop_null().to_numpy()
    if sizes.size and int(sizes[codes].sum()) > limits.DECODED_BYTES_MAX:
        raise EvenshardError("REQUEST_TOO_LARGE", "a dictionary-encoded column is too large once decoded")
    invalid = None
    if values.invalid is not None:
        invalid = pc.take(pa.array(values.invalid), indices).fill_null(False).to_numpy(zero_copy_only=False)
    return Texts(values.array.take(indices), invalid)


def coded(array: pa.Array, *, clean: bool) -> tuple[pa.DictionaryArray, npt.NDArray[np.bool_] | None]:
    """Any text column as dictionary<int32, utf8> of distinct values, none null; and which rows were not UTF-8."""
    if pa.types.is_dictionary(array.type) and is_text(array.type.value_type) and clean:
        values = plain_texts(array.dictionary, clean=True).array
        small = len(values) <= len(array)
        if small and values.null_count == 0 and pc.count_distinct(values).as_py() == len(values):
            return pa.DictionaryArray.from_arrays(array.indices.cast(pa.int32()), values), None
    found = texts(array, clean=clean)
    return found.array.dictionary_encode(), found.invalid


@kernel(f"void({view('int64')}, {view('int64')}, {view('uint8')}, boolean[::1])")
def find_invalid_utf8(starts, ends, data, out):  # type: ignore[no-untyped-def]
    """``out[i]`` = whether ``data[starts[i]:ends[i]]`` is not UTF-8."""
    for i in range(np.uint64(out.size)):
        out[i] = not utf8_valid(data, starts[i], ends[i])
