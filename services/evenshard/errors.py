"""Every error a caller can meet: one small tree, grouped by what the caller does next, each with a stable code.

``CODES`` is the one table that maps a code to its group, its gRPC status and the exit status of the command line;
``docs/errors.md`` is checked against it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Literal, NamedTuple

Act = Literal["refresh", "retry_later", "fix_request", "refused", "damaged"]


class ExitStatus(IntEnum):
    """Exit statuses of the command line."""

    WHOLE = 0
    PARTIAL = 1
    USAGE = 2
    UNREACHABLE = 3
    REFUSED = 4
    FAULT = 5


class CodeRule(NamedTuple):
    """What a code means to programs: the caller's next act, the gRPC status name, the exit status."""

    act: Act
    grpc_status: str
    exit_status: ExitStatus
    hint: str


_FIX, _REF = ExitStatus.USAGE, ExitStatus.REFUSED

CODES: Mapping[str, CodeRule] = {
    "TENANT_NOT_FOUND": CodeRule("refused", "NOT_FOUND", _REF, "create it: evenshard admin create-tenant TENANT"),
    "TENANT_EXISTS": CodeRule(
        "refused", "ALREADY_EXISTS", _REF, "change it instead: evenshard admin set-tenant TENANT"
    ),
    "TENANT_NAME_INVALID": CodeRule(
        "fix_request",
        "INVALID_ARGUMENT",
        _FIX,
        "a name is 1-63 of a-z 0-9 _ -, beginning with a letter or digit",
    ),
    "PAYLOAD_INVALID": CodeRule(
        "fix_request", "INVALID_ARGUMENT", _FIX, "send a whole Arrow IPC stream or NDJSON lines"
    ),
    "COLUMN_MISSING": CodeRule(
        "fix_request", "INVALID_ARGUMENT", _FIX, "add the column; event, distinct_id and time are needed"
    ),
    "COLUMN_DUPLICATED": CodeRule("fix_request", "INVALID_ARGUMENT", _FIX, "give every column a name of its own"),
    "COLUMN_TYPE": CodeRule("fix_request", "INVALID_ARGUMENT", _FIX, "cast the column to one of the types named"),
    "REQUEST_TOO_LARGE": CodeRule(
        "fix_request", "INVALID_ARGUMENT", _FIX, "send smaller batches: a request holds at most 16 MiB"
    ),
    "QUERY_INVALID": CodeRule("fix_request", "INVALID_ARGUMENT", _FIX, ""),
    "RANGE_INVALID": CodeRule(
        "fix_request", "INVALID_ARGUMENT", _FIX, "give dates as YYYY-MM-DD, the first not after the last"
    ),
    "LIMIT_EXCEEDED": CodeRule("retry_later", "RESOURCE_EXHAUSTED", _REF, "wait, then send again"),
    "STALE_EPOCH": CodeRule("refresh", "FAILED_PRECONDITION", _REF, "the placement changed: read it again and retry"),
    "KEY_SEALED": CodeRule("refresh", "FAILED_PRECONDITION", _REF, "the key became hot: read its mark and retry"),
    "SLOTS_FENCED": CodeRule(
        "refresh", "UNAVAILABLE", ExitStatus.UNREACHABLE, "the slots are being handed to another shard: retry at once"
    ),
    "REPLAN": CodeRule(
        "refresh", "FAILED_PRECONDITION", _REF, "users came to be split over shards meanwhile: ask again"
    ),
    "SHARD_UNAVAILABLE": CodeRule("retry_later", "UNAVAILABLE", ExitStatus.UNREACHABLE, "see: evenshard status"),
    "OVERLOADED": CodeRule("retry_later", "UNAVAILABLE", ExitStatus.UNREACHABLE, "wait, then send again"),
    "DISK_FULL": CodeRule("retry_later", "RESOURCE_EXHAUSTED", _REF, "free disk space on the shard; reads go on"),
    "DATA_DAMAGED": CodeRule(
        "damaged",
        "DATA_LOSS",
        ExitStatus.FAULT,
        "the file named is damaged; keep a copy before anything else",
    ),
    "DEADLINE_EXCEEDED": CodeRule(
        "retry_later", "DEADLINE_EXCEEDED", ExitStatus.UNREACHABLE, "give it more time: --timeout"
    ),
    "SHARD_NOT_FOUND": CodeRule("refused", "NOT_FOUND", _REF, "see the shards: evenshard status"),
    "SHARD_NOT_ELIGIBLE": CodeRule("refused", "FAILED_PRECONDITION", _REF, ""),
    "PLACEMENT_UNSATISFIABLE": CodeRule(
        "refused", "FAILED_PRECONDITION", _REF, "no shard is there to take it: evenshard status"
    ),
    "COHORT_NOT_FOUND": CodeRule(
        "refused", "NOT_FOUND", _REF, "see those there are: evenshard cohorts --tenant TENANT"
    ),
    "HOT_KEY_NOT_FOUND": CodeRule("refused", "NOT_FOUND", _REF, "give a key that is hot, and UTC dates on which it is"),
    "OPERATION_NOT_FOUND": CodeRule("refused", "NOT_FOUND", _REF, "see those there are: evenshard admin operations"),
    "TRACE_NOT_FOUND": CodeRule(
        "refused", "NOT_FOUND", _REF, "the slowest and the failed of the last hour are remembered: evenshard traces"
    ),
    "OPERATION_CONFLICT": CodeRule("refused", "ABORTED", _REF, "somebody changed it meanwhile: look again, then retry"),
    "OPERATION_STATE": CodeRule("refused", "FAILED_PRECONDITION", _REF, ""),
    "PLAN_STALE": CodeRule("refused", "ABORTED", _REF, "plan again"),
    "TOKEN_INVALID": CodeRule("refused", "UNAUTHENTICATED", _REF, "set EVENSHARD_TOKEN"),
    "PERMISSION_DENIED": CodeRule("refused", "PERMISSION_DENIED", _REF, ""),
    "PORT_IN_USE": CodeRule(
        "refused", "FAILED_PRECONDITION", _REF, "stop what listens there, or choose another: --base-port"
    ),
    "DATA_DIR_LOCKED": CodeRule(
        "refused",
        "FAILED_PRECONDITION",
        _REF,
        "another process has it open: stop that one, or choose another --data-dir",
    ),
    "FORMAT_TOO_NEW": CodeRule(
        "damaged",
        "FAILED_PRECONDITION",
        ExitStatus.FAULT,
        "it was written by a newer evenshard: use that one",
    ),
    "DIRECTORY_UNAVAILABLE": CodeRule(
        "retry_later", "UNAVAILABLE", ExitStatus.UNREACHABLE, "is etcd up? see: evenshard status"
    ),
    # Beyond the contract's list: an etcd or a processor that services do not start on; the client cannot reach an
    # address; somebody pressed Ctrl-C; a command line is wrong; a defect of ours.
    "DIRECTORY_UNSUITABLE": CodeRule(
        "refused", "FAILED_PRECONDITION", _REF, "run etcd 3.4.x, or 3.5.3 or newer, and name that one: ETCD_ENDPOINTS"
    ),
    "CPU_UNSUITABLE": CodeRule(
        "refused", "FAILED_PRECONDITION", _REF, "run it on an x86-64-v2 processor: any server of the last decade"
    ),
    "UNREACHABLE": CodeRule(
        "retry_later", "UNAVAILABLE", ExitStatus.UNREACHABLE, "is the cluster up? start one: evenshard up"
    ),
    "INTERRUPTED": CodeRule(
        "retry_later", "CANCELLED", ExitStatus.PARTIAL, "what was sent may have been done; the same command goes on"
    ),
    "USAGE": CodeRule("fix_request", "INVALID_ARGUMENT", _FIX, "see: evenshard --help"),
    "INTERNAL": CodeRule("damaged", "INTERNAL", ExitStatus.FAULT, "this is a defect: report it with the trace id"),
}

EVENT_CODES: frozenset[str] = frozenset(
    [
        "INVALID_JSON",
        "INVALID_UTF8",
        "EVENT_MISSING",
        "EVENT_TOO_LONG",
        "EVENT_TOO_LARGE",
        "EVENT_NAME_RESERVED",
        "DISTINCT_ID_TYPE",
        "DISTINCT_ID_TOO_LONG",
        "DISTINCT_ID_PLACEHOLDER",
        "TIME_MISSING",
        "TIME_INVALID",
        "TIME_TOO_OLD",
        "TIME_IN_FUTURE",
        "INSERT_ID_MISSING",
        "INSERT_ID_INVALID",
        "PROPERTIES_TOO_MANY",
        "PROPERTIES_TOO_DEEP",
        "NUMBER_NOT_FINITE",
        "NUMBER_OUT_OF_RANGE",
        "EVENT_TYPE",
        "PROPERTIES_TYPE",
        "DISTINCT_ID_BLOCKED",
        "TENANT_MISSING",
        "TENANT_NOT_FOUND",
        "TENANT_NAME_INVALID",
        "TENANT_MISMATCH",
        "SHARD_UNAVAILABLE",
    ]
)
"""Codes of single events in an import's answer; only ``SHARD_UNAVAILABLE`` is retryable."""


@dataclass(frozen=True, slots=True)
class FieldFault:
    """A field of a request that is at fault, and why."""

    field: str
    description: str


@dataclass(eq=False)
class EvenshardError(Exception):
    """A call failed. ``code`` is stable; ``retryable`` says whether the same call may succeed later.

    ``in_doubt`` is true where an import may have been stored although the call failed: the same call with the
    same insert_ids settles it.
    """

    code: str
    message: str
    hint: str = ""
    in_doubt: bool = False
    retry_after_ms: int | None = None
    fields: Sequence[FieldFault] = ()
    details: Mapping[str, str] = field(default_factory=dict)
    trace_id: str = ""

    def __post_init__(self) -> None:
        super().__init__(self.code, self.message)
        rule = CODES[self.code]
        if not self.hint:
            self.hint = rule.hint

    def __str__(self) -> str:
        return f"{self.code}: {self.message}" + (f" ({self.hint})" if self.hint else "")

    @property
    def act(self) -> Act:
        """What the caller does next."""
        return CODES[self.code].act

    @property
    def retryable(self) -> bool:
        return self.act in ("refresh", "retry_later")

    @property
    def exit_status(self) -> ExitStatus:
        return CODES[self.code].exit_status
