"""Events of a hot key as a plan shows them, and as an export of it gives them. Pure."""

import json
from collections.abc import Mapping

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from evenshard.api.v1 import admin_pb2
from evenshard.directory.repair import EXAMPLES_MAX, RepairRequest
from evenshard.events.limits import HOT_EVENT, ORIGINAL_EVENT, ORIGINAL_ID
from evenshard.events.marked_rows import MarkedRows
from evenshard.events.ndjson_encode import encode_ndjson
from evenshard.events.reassigning import new_ids, with_ids
from evenshard.hotkeys.marks import Mark
from evenshard.storage.segment.info import DAY_MS


def lines_of(payload: bytes) -> list[str]:
    """Rows as lines of an export, under their original names."""
    if not payload:
        return []
    marked = MarkedRows.from_ipc(payload)
    return encode_ndjson(marked.batch.record, tenant=None, mark_duplicates=False).decode().splitlines()


def examples_of(
    payload: bytes, request: RepairRequest, marks: Mapping[int, Mark], refused: frozenset[str]
) -> list[admin_pb2.RepairExample]:
    """A few of the rows, as they are shown and as they will be."""
    if not payload:
        return []
    marked = MarkedRows.from_ipc(payload)
    marked = marked.slice(0, min(EXAMPLES_MAX, marked.rows))
    record = marked.batch.record
    originals = encode_ndjson(record, tenant=None, mark_duplicates=False).decode().splitlines()
    fixed = record if not request.distinct_id_from else _fixed(record, request.distinct_id_from, refused)
    after = encode_ndjson(fixed, tenant=None, mark_duplicates=False).decode().splitlines()
    times = record.column("time").to_pylist()
    found = []
    for line, outcome, hot, time in zip(originals, after, marked.hot.tolist(), times, strict=True):
        mark = marks.get(time // DAY_MS)
        before = _rewritten(line) if hot and (mark is None or mark.mode == "rewrite") else line
        found.append(admin_pb2.RepairExample(before=before, after="" if request.action == "delete" else outcome))
    return found


def _rewritten(line: str) -> str:
    """One event as it is shown while its key's mark says ``rewrite``."""
    event = orjson.loads(line)
    properties = {
        **event["properties"],
        "distinct_id": "",
        ORIGINAL_EVENT: event["event"],
        ORIGINAL_ID: event["properties"]["distinct_id"],
    }
    return json.dumps({"event": HOT_EVENT, "properties": properties}, ensure_ascii=False, separators=(",", ":"))


def _fixed(record: pa.RecordBatch, name: str, refused: frozenset[str]) -> pa.RecordBatch:
    """Under the ids that the property gives; without one, under their own."""
    ids = new_ids(record, name, refused=refused)
    return with_ids(record, pc.coalesce(ids, record.column("distinct_id")))


def fixed_lines(payload: bytes, name: str, refused: frozenset[str]) -> admin_pb2.ExportHotKeyResponse:
    marked = MarkedRows.from_ipc(payload)
    record = marked.batch.record
    if marked.duplicate.any():
        record = record.filter(pa.array(~marked.duplicate))
    if name:
        record = _fixed(record, name, refused)
    lines = encode_ndjson(record, tenant=None, mark_duplicates=False)
    return admin_pb2.ExportHotKeyResponse(lines=lines, rows=record.num_rows)
