"""What repairs ask of shards: protobuf ↔ ours."""

from collections.abc import Iterable

from evenshard.api.v1 import shard_pb2
from evenshard.errors import EvenshardError
from evenshard.events.row_digest import Tally
from evenshard.storage.choosing import KeyRows, key_rows
from evenshard.storage.layers import Change, Prepared
from evenshard.storage.repairing import LayerTally


def key_rows_of(message: shard_pb2.KeyRows) -> KeyRows:
    """Raises ``PAYLOAD_INVALID`` where it names nobody, or no day."""
    if not message.distinct_id or not message.days:
        raise EvenshardError("PAYLOAD_INVALID", "rows of a key have a distinct_id and at least one day")
    return key_rows(
        message.distinct_id,
        message.days,
        rewritten_only=message.rewritten_only,
        distinct_id_from=message.distinct_id_from,
        refused=message.refused,
        strict=message.strict,
    )


def key_rows_message(rows: KeyRows) -> shard_pb2.KeyRows:
    return shard_pb2.KeyRows(
        distinct_id=rows.distinct_id,
        days=sorted(rows.days),
        rewritten_only=rows.rewritten_only,
        distinct_id_from=rows.distinct_id_from,
        refused=sorted(rows.refused),
        strict=rows.strict,
    )


def tally_message(layer: str, tally: LayerTally) -> shard_pb2.LayerTally:
    return shard_pb2.LayerTally(
        layer=layer,
        rows=tally.all.rows,
        digest=tally.all.digest,
        originals=tally.originals.rows,
        originals_digest=tally.originals.digest,
        bytes=tally.bytes,
    )


def tally_of_message(message: shard_pb2.LayerTally) -> LayerTally:
    return LayerTally(
        Tally(message.rows, message.digest), Tally(message.originals, message.originals_digest), message.bytes
    )


def prepared_of(request: shard_pb2.PrepareRepairRequest) -> Prepared:
    changes = tuple(Change(each.layer, each.shown, each.counts, each.frees) for each in request.changes)
    return Prepared(request.operation, changes)


def change_messages(changes: Iterable[Change]) -> list[shard_pb2.LayerChange]:
    return [
        shard_pb2.LayerChange(layer=each.layer, shown=each.shown, counts=each.counts, frees=each.frees)
        for each in changes
    ]
