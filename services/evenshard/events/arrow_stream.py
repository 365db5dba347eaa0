"""An Arrow IPC stream from outside as one record batch that is safe to compute on."""

from dataclasses import dataclass

import pyarrow as pa

from evenshard.errors import EvenshardError
from evenshard.events import limits

_END_OF_STREAM = b"\xff\xff\xff\xff\x00\x00\x00\x00"


@dataclass(frozen=True, slots=True)
class SafeRecord:
    """All offsets and codes lie within their buffers; text is UTF-8, except in the columns of ``unclean``."""

    record: pa.RecordBatch
    names: list[str]
    unclean: frozenset[int]


def _refused(reason: object) -> EvenshardError:
    return EvenshardError("PAYLOAD_INVALID", f"the payload is not a whole Arrow IPC stream: {reason}")


def _bytes_of(kind: pa.DataType) -> pa.DataType:
    """The type with its texts as bytes: same layout, no UTF-8 to check."""
    plain = {
        pa.utf8(): pa.binary(),
        pa.large_utf8(): pa.large_binary(),
        pa.string_view(): pa.binary_view(),
    }.get(kind)
    if plain is not None:
        return plain
    if pa.types.is_dictionary(kind):
        return pa.dictionary(kind.index_type, _bytes_of(kind.value_type), kind.ordered)
    if pa.types.is_map(kind):
        return pa.map_(_bytes_of(kind.key_type), _bytes_of(kind.item_type))
    if pa.types.is_list(kind):
        return pa.list_(_bytes_of(kind.value_type))
    if pa.types.is_large_list(kind):
        return pa.large_list(_bytes_of(kind.value_type))
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(_bytes_of(kind.value_type), kind.list_size)
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_bytes_of(field.type)) for field in kind])
    return kind


def _is_clean(array: pa.Array) -> bool:
    """False: only its UTF-8 is bad. Raises ``pa.ArrowException`` for bad offsets, codes or buffers."""
    try:
        array.validate(full=True)
        return True
    except pa.ArrowInvalid:
        twin = _bytes_of(array.type)
        if twin == array.type:
            raise
        array.view(twin).validate(full=True)
        return False


def read_stream(data: bytes) -> SafeRecord:
    """One record batch of a whole stream.

    Raises ``PAYLOAD_INVALID``, also for a stream without its end mark (it may have lost batches), and
    ``REQUEST_TOO_LARGE`` beyond ``ROWS_MAX`` or ``DECODED_BYTES_MAX``.
    """
    if not data.endswith(_END_OF_STREAM):
        raise _refused("it does not end with the end-of-stream mark")
    unclean: set[int] = set()
    batches: list[pa.RecordBatch] = []
    rows = size = 0
    try:
        with pa.ipc.open_stream(pa.py_buffer(data)) as reader:
            schema = reader.schema
            names = [field.name for field in schema]
            for batch in reader:
                rows += batch.num_rows
                if rows > limits.ROWS_MAX:
                    raise EvenshardError("REQUEST_TOO_LARGE", f"a payload holds at most {limits.ROWS_MAX} events")
                unclean.update(i for i, array in enumerate(batch.columns) if not _is_clean(array))
                size += batch.get_total_buffer_size()
                if size > limits.DECODED_BYTES_MAX:
                    raise EvenshardError("REQUEST_TOO_LARGE", "the payload is too large once decompressed")
                batches.append(batch)
        return SafeRecord(_joined(schema, batches), names, frozenset(unclean))
    except (pa.ArrowException, OSError, ValueError, TypeError, KeyError) as error:
        raise _refused(error) from error


def _joined(schema: pa.Schema, batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    if len(batches) == 1:
        return batches[0]
    # By position: names may come twice.
    columns = [
        pa.concat_arrays([batch.column(i) for batch in batches]) if batches else pa.array([], field.type)
        for i, field in enumerate(schema)
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)
