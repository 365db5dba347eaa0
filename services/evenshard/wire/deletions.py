"""Deletions and purges of a shard: protobuf ↔ ours."""

from dataclasses import dataclass

from evenshard.api.v1 import shard_pb2
from evenshard.errors import EvenshardError
from evenshard.storage.purging import Purge


@dataclass(frozen=True, slots=True)
class UsersToHide:
    """Whom an operation deletes."""

    operation: str
    distinct_ids: tuple[str, ...]


def users_to_hide(request: shard_pb2.HideUsersRequest) -> UsersToHide:
    """Raises ``PAYLOAD_INVALID`` without an operation: a retry could not be told from a second deletion."""
    if not request.operation:
        raise EvenshardError("PAYLOAD_INVALID", "a deletion of users names its operation")
    return UsersToHide(request.operation, tuple(request.distinct_ids))


def purge_response(purge: Purge) -> shard_pb2.PurgeResponse:
    return shard_pb2.PurgeResponse(
        purged=purge.purged, rows_left=purge.rows_left, rows_done=purge.rows_done, waits_for=purge.waits_for
    )
