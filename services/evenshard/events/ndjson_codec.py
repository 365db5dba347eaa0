"""Decodes NDJSON: one event a line in Mixpanel's shape, every line answered for.

``{"event", "properties": {"distinct_id", "time", "$insert_id", …}}``; ``tenant`` stands beside ``event``; so may
``distinct_id``, ``time``, ``insert_id`` (or ``$insert_id``), which count where ``properties`` has none.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from evenshard.events import faults, json_tokens, limits, rfc3339
from evenshard.events.checks import Draft, finish
from evenshard.events.faults import FINE, Detail
from evenshard.events.json_columns import kinds_of, property_columns, texts_of
from evenshard.events.json_kernel import AT, BOOL, DOUBLE, END, INT, NESTED, STRING
from evenshard.events.json_lines import rewrite
from evenshard.events.json_tokens import JsonTokens
from evenshard.events.rejects import Decoded, DecodeWarning
from evenshard.ids import is_tenant_name

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
IGNORED_NAMES_MAX = 5
"""Ignored keys named in a warning."""

Bools = npt.NDArray[np.bool_]


@dataclass(slots=True)
class _Reader:
    """Reads the fields of all rows; notes their faults."""

    found: JsonTokens
    faults: npt.NDArray[np.uint8]

    def pick(self, *fields: int) -> npt.NDArray[np.int64]:
        """Each row's token of the first of these fields that it has, or -1."""
        tokens = self.found.fields[fields[0]].astype(np.int64)
        for field in fields[1:]:
            tokens = np.where(tokens >= 0, tokens, self.found.fields[field])
        result: npt.NDArray[np.int64] = tokens
        return result

    def note(self, which: Bools, number: int) -> None:
        np.minimum(self.faults, np.where(which, number, FINE).astype(np.uint8), out=self.faults)

    def text(self, tokens: npt.NDArray[np.int64], wrong_type: int, *, integers: bool = False) -> pa.StringArray:
        """Texts, null where there is none; other types are the fault ``wrong_type``."""
        kinds = kinds_of(self.found, tokens)
        fine = (kinds == STRING) | (kinds == INT) if integers else kinds == STRING
        self.note((kinds != 0) & ~fine, wrong_type)
        return texts_of(self.found, np.where(fine, tokens, -1), fine)

    def times(self, tokens: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        kinds = kinds_of(self.found, tokens)
        out = np.empty(tokens.size, np.int64)
        if self.found.tokens.shape[1]:
            starts, ends = self.found.tokens[AT, tokens], self.found.tokens[END, tokens]
            rfc3339.token_times(
                self.found.data, kinds, starts, ends, self.found.is_escaped(tokens), limits.TIME_MIN_MS, out
            )
        self.note(kinds == 0, faults.TIME_MISSING)
        wrong = (kinds == BOOL) | (kinds == NESTED)
        wrong |= ((kinds == STRING) | (kinds == INT) | (kinds == DOUBLE)) & (out == rfc3339.INVALID)
        self.note(wrong, faults.TIME_INVALID)
        return out


def _tenants(reader: _Reader, tenant: str) -> tuple[list[str], npt.NDArray[np.int32] | None]:
    """The tenants of all rows: names, and the index of each row's (-1: none); notes what is wrong with them."""
    tokens = reader.pick(json_tokens.TENANT)
    named = tokens >= 0
    if tenant:
        if named.any():
            own = reader.text(tokens, faults.TENANT_MISMATCH).fill_null("").dictionary_encode()
            other = np.array([name not in ("", tenant) for name in own.dictionary.to_pylist()], np.bool_)
            reader.note(other[own.indices.to_numpy()], faults.TENANT_MISMATCH)
        return [tenant], None
    coded = reader.text(tokens, faults.TENANT_NAME_INVALID).fill_null("").dictionary_encode()
    names = coded.dictionary.to_pylist()
    codes = coded.indices.to_numpy().copy()
    invalid = np.array([bool(name) and not is_tenant_name(name) for name in names] or [False], np.bool_)
    empty = np.array([not name for name in names] or [False], np.bool_)
    if codes.size:
        reader.note(invalid[codes], faults.TENANT_NAME_INVALID)
        reader.note(empty[codes], faults.TENANT_MISSING)
        codes[empty[codes]] = -1
    return names, codes


def _warnings(found: JsonTokens) -> list[DecodeWarning]:
    if not found.ignored:
        return []
    named = ", ".join(repr(name) for name in sorted(found.ignored)[:IGNORED_NAMES_MAX])
    message = f"keys beside event and properties that mean nothing there, and were not stored: {named}"
    return [DecodeWarning("FIELD_IGNORED", message, found.ignored.total())]


def decode_ndjson(data: bytes, *, tenant: str, strict: bool | Callable[[str], bool], now_ms: int) -> Decoded:
    """Decodes lines of events. A reject's index is its line, from 0; blank lines count but are no events.

    ``tenant`` empty: each line names its own. ``strict`` may depend on the tenant. Raises ``REQUEST_TOO_LARGE``.
    """
    found = JsonTokens(data.removeprefix(_BYTE_ORDER_MARK), bare=False, rewrite=rewrite)
    reader = _Reader(found, np.full(found.rows, FINE, np.uint8))
    details: dict[int, Detail] = found.faults
    for row, detail in details.items():
        reader.faults[row] = detail.number
    names, codes = _tenants(reader, tenant)
    events = reader.text(reader.pick(json_tokens.EVENT), faults.EVENT_TYPE)
    ids = reader.text(
        reader.pick(json_tokens.INNER_ID, json_tokens.OUTER_ID), faults.DISTINCT_ID_TYPE, integers=True
    ).fill_null("")
    times = reader.times(reader.pick(json_tokens.INNER_TIME, json_tokens.OUTER_TIME))
    inserts = reader.text(
        reader.pick(json_tokens.INNER_INSERT, json_tokens.OUTER_INSERT_2, json_tokens.OUTER_INSERT),
        faults.INSERT_ID_INVALID,
    )
    draft = Draft(
        rows=found.rows,
        event=events.dictionary_encode(),
        distinct_id=ids,
        time=times,
        insert_id=inserts,
        properties=property_columns(found),
        faults=reader.faults,
        details=details,
        warnings=_warnings(found),
        tenants=names,
        tenant_codes=codes,
        places=found.numbers if found.blank_lines else None,
    )
    return finish(draft, strict=strict, now_ms=now_ms)
