"""Rows of events on the wire → tokens of ``events.rows_codec``."""

import numpy as np
import numpy.typing as npt

from evenshard.errors import EvenshardError
from evenshard.events import limits
from evenshard.events.json_kernel import KEY_AT, KEY_END, KEY_SEEN, KIND, rebuild_slots
from evenshard.events.json_tokens import FIRST_PROPERTY, SEEDS, seed_keys
from evenshard.events.rows_codec import RowTokens
from evenshard.wire import rows_kernel
from evenshard.wire.rows_kernel import JSON, count_rows, read_rows

PROPERTIES_MAX = 1 << 22
"""Properties in one payload, so that empty ones, which cost two bytes, cost no memory either."""
_PADDING_BYTES = 32
_FIELDS = 3


def rows_of(message: bytes) -> RowTokens:
    """The rows of a serialized ``EventRows``. Raises ``PAYLOAD_INVALID``, ``REQUEST_TOO_LARGE``.

    Texts are taken as they are: whoever parsed the message before saw that they are UTF-8.
    """
    data = np.frombuffer(SEEDS + message + bytes(_PADDING_BYTES), np.uint8)
    begin, stop = len(SEEDS), len(SEEDS) + len(message)
    state = np.zeros(6, np.int64)
    count_rows(data, begin, stop, state)
    _check(state)
    rows, properties = int(state[rows_kernel.ROWS]), int(state[rows_kernel.PROPERTIES])
    if rows > limits.ROWS_MAX:
        raise EvenshardError("REQUEST_TOO_LARGE", f"a payload holds at most {limits.ROWS_MAX} events")
    if properties > PROPERTIES_MAX:
        raise EvenshardError("REQUEST_TOO_LARGE", f"a payload holds at most {PROPERTIES_MAX} properties")
    keys = np.empty((5, FIRST_PROPERTY + properties), np.int64)
    seed_keys(keys)
    keys[KEY_SEEN, :FIRST_PROPERTY] = -1
    slots = np.full(1 << (2 * keys.shape[1]).bit_length(), -1, np.int32)
    rebuild_slots(data, keys, slots, FIRST_PROPERTY)
    state[rows_kernel.KEYS] = FIRST_PROPERTY
    tokens = np.empty((6, _FIELDS * rows + properties), np.int32)
    values = np.empty(tokens.shape[1], np.int64)
    fields = np.full((_FIELDS, rows), -1, np.int32)
    times, has_time = np.zeros(rows, np.int64), np.zeros(rows, np.bool_)
    read_rows(data, begin, stop, keys, slots, tokens, values, fields, times, has_time, state)
    _check(state)
    tokens = tokens[:, : state[rows_kernel.TOKENS]]
    return RowTokens(
        rows=rows,
        data=data,
        tokens=tokens,
        values=values[: tokens.shape[1]],
        fields=fields,
        times=times,
        has_time=has_time,
        names=keys[[KEY_AT, KEY_END], : state[rows_kernel.KEYS]],
        json_tokens=np.flatnonzero(tokens[KIND] == JSON),
        large=bool(state[rows_kernel.ROW_BYTES] > limits.EVENT_SIZE_BYTES_MAX),
    )


def _check(state: npt.NDArray[np.int64]) -> None:
    if state[rows_kernel.MALFORMED]:
        raise EvenshardError("PAYLOAD_INVALID", "the rows are no whole EventRows message")
