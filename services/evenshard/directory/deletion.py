"""Deleting users, and letting events expire: what may be asked, what is written down. Decides, does no IO."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from evenshard.directory.changes import subject_of, used_otherwise
from evenshard.directory.operations import Kind
from evenshard.errors import EvenshardError, FieldFault
from evenshard.events.limits import DISTINCT_ID_BYTES_MAX
from evenshard.ids import OperationId, TenantId

USERS_MAX: Final = 1000
"""In one operation."""
USERS_BYTES_MAX: Final = 1 << 20
"""Of one operation's ids as JSON: the directory takes 1.5 MiB in one change."""
DAY_MS: Final = 86_400_000
DELETE_USERS: Final[Kind] = "delete-users"


@dataclass(frozen=True, slots=True)
class Users:
    """Whom an operation deletes; apart from its record, as that is rewritten often and outlives them."""

    tenant: TenantId
    distinct_ids: tuple[str, ...]

    def to_json(self) -> bytes:
        record = {"version": 1, "tenant": self.tenant, "distinct_ids": self.distinct_ids}
        return json.dumps(record, ensure_ascii=False).encode()

    @staticmethod
    def from_json(data: bytes) -> "Users":
        """Raises ``FORMAT_TOO_NEW`` for what a newer evenshard wrote."""
        record = json.loads(data)
        if record["version"] > 1:
            raise EvenshardError("FORMAT_TOO_NEW", f"users of an operation have version {record['version']}")
        return Users(TenantId(record["tenant"]), tuple(record["distinct_ids"]))


@dataclass(frozen=True, slots=True)
class Block:
    """An id of which no events are taken."""

    operation: OperationId
    """The last one that asked for it."""

    def to_json(self) -> bytes:
        return json.dumps({"version": 1, "operation": self.operation}).encode()

    @staticmethod
    def from_json(data: bytes) -> "Block":
        """A block of any version blocks."""
        return Block(OperationId(json.loads(data)["operation"]))


def users_to_delete(tenant: TenantId, distinct_ids: Sequence[str]) -> Users:
    """Each once, in their order. Raises ``QUERY_INVALID``, naming what is wrong."""
    if not distinct_ids:
        raise _wrong("distinct_ids", "no distinct_id is named")
    if len(distinct_ids) > USERS_MAX:
        raise _wrong("distinct_ids", f"{len(distinct_ids):,} ids are too many: at most {USERS_MAX:,} in one operation")
    for number, distinct_id in enumerate(distinct_ids):
        if not distinct_id:
            raise _wrong(f"distinct_ids[{number}]", "the empty distinct_id is nobody's: anonymous events have no user")
        if len(distinct_id.encode()) > DISTINCT_ID_BYTES_MAX:
            raise _wrong(f"distinct_ids[{number}]", f"longer than {DISTINCT_ID_BYTES_MAX} bytes, as no distinct_id is")
    users = Users(tenant, tuple(dict.fromkeys(distinct_ids)))
    if len(users.to_json()) > USERS_BYTES_MAX:
        raise _wrong(
            "distinct_ids", f"together longer than {USERS_BYTES_MAX:,} bytes: delete them in several operations"
        )
    return users


@dataclass(frozen=True, slots=True)
class DeletionRequest:
    """What a request_id was used for, written in the very swap that made the operation."""

    operation: OperationId
    tenant: TenantId
    digest: str
    """Of who was to be deleted, and whether blocked: the ids themselves do not outlive the operation."""

    def to_json(self) -> bytes:
        return json.dumps(
            {"verb": DELETE_USERS, "operation": self.operation, "tenant": self.tenant, "digest": self.digest}
        ).encode()

    @staticmethod
    def of(operation: OperationId, users: Users, *, block: bool) -> "DeletionRequest":
        names = json.dumps([sorted(users.distinct_ids), block]).encode()
        return DeletionRequest(operation, users.tenant, hashlib.sha256(names).hexdigest())

    @staticmethod
    def from_json(data: bytes, request_id: str) -> "DeletionRequest":
        """Raises ``OPERATION_CONFLICT`` where the request was something else."""
        record = json.loads(data)
        if record["verb"] != DELETE_USERS:
            raise used_otherwise(request_id, record["verb"], subject_of(record))
        return DeletionRequest(OperationId(record["operation"]), TenantId(record["tenant"]), record["digest"])

    def check_same(self, request_id: str, wanted: "DeletionRequest") -> None:
        """Raises ``OPERATION_CONFLICT`` if the request_id was used to delete others."""
        if (self.tenant, self.digest) != (wanted.tenant, wanted.digest):
            raise used_otherwise(request_id, DELETE_USERS, self.tenant)


def horizon_ms(now_ms: int, retention_days: int) -> int:
    """Events before it have expired: the start of the UTC day ``retention_days`` before today."""
    return (now_ms // DAY_MS - retention_days) * DAY_MS


def _wrong(field: str, problem: str) -> EvenshardError:
    return EvenshardError("QUERY_INVALID", problem, fields=(FieldFault(field, problem),))
