"""What is written down of a weekly report, one record a tenant and ISO week: who may send it, and what became of it.

A report is delivered once however often sending is started: *sent* is the end. Nothing found is none: what was not
sent may be looked for again. Who claims a report holds it by a lease of the directory, so that no clock but the
directory's decides when another may: after ``CLAIM_S``, as the first must have died. Whether its delivery came through
is not known then: so deliveries bear a name (tenant and week) by which their receiver can tell a second one. Decides,
does no IO.
"""

import json
from dataclasses import asdict, dataclass, replace
from typing import Final, Literal, get_args

from evenshard.errors import EvenshardError
from evenshard.ids import TenantId

RECORD_VERSION: Final = 1
CLAIM_S: Final = 600
"""Longer than a report takes to be made and all its deliveries to be tried."""
RECORDS_MAX: Final = 60
"""Of one tenant: those of the oldest weeks go."""
ERROR_CHARACTERS_MAX: Final = 1_000
CLAIMANT_CHARACTERS_MAX: Final = 128
State = Literal["sending", "sent", "nothing_found", "failed"]
STATES: Final[tuple[State, ...]] = get_args(State)
OUTCOMES: Final = STATES[1:]


@dataclass(frozen=True, slots=True)
class ReportRecord:
    """Of one tenant and week."""

    tenant: TenantId
    week: str
    state: State
    claimant: str
    """Who claimed it last."""
    changed_ms: int
    sink: str = ""
    hot_keys: int = 0
    attempts: int = 0
    """Deliveries tried, over all claims."""
    error: str = ""
    """Why the last one failed, or whom it did not reach."""

    def to_json(self) -> bytes:
        return json.dumps({"version": RECORD_VERSION, **asdict(self)}).encode()

    @staticmethod
    def from_json(data: bytes) -> "ReportRecord":
        """Raises ``FORMAT_TOO_NEW`` for a record of a newer evenshard."""
        record = json.loads(data)
        version = record.pop("version")
        if version > RECORD_VERSION:
            raise EvenshardError("FORMAT_TOO_NEW", f"the record of a report has version {version}")
        return ReportRecord(**record)


def claimed(
    current: ReportRecord | None, holder: str | None, tenant: TenantId, week: str, claimant: str, now_ms: int
) -> ReportRecord | None:
    """The record with the claim in it; None: it was sent, or somebody is at it. ``holder``: whose lease stands; None:
    nobody's. The same claimant may claim again, as one whose answer was lost does."""
    if current is None:
        return ReportRecord(tenant, week, "sending", claimant, now_ms)
    taken = current.state == "sending" and holder is not None and holder != claimant
    if current.state == "sent" or taken:
        return None
    return replace(current, state="sending", claimant=claimant, changed_ms=now_ms, error="")


def recorded(current: ReportRecord | None, outcome: ReportRecord, now_ms: int) -> ReportRecord:
    """The record with what became of it; the attempts of ``outcome`` come on top. Recording the same again changes
    nothing. Raises ``OPERATION_CONFLICT`` where somebody else has claimed it meanwhile, ``OPERATION_STATE`` for what is
    no outcome."""
    if outcome.state not in OUTCOMES:
        raise EvenshardError("OPERATION_STATE", f"{outcome.state!r} is no outcome of a report")
    if current is None or current.claimant != outcome.claimant:
        raise EvenshardError(
            "OPERATION_CONFLICT",
            f"the report of {outcome.tenant!r} of week {outcome.week} was claimed by somebody else meanwhile",
        )
    if current.state != "sending":
        return current
    return replace(
        current,
        state=outcome.state,
        changed_ms=now_ms,
        sink=outcome.sink,
        hot_keys=outcome.hot_keys,
        attempts=current.attempts + outcome.attempts,
        error=outcome.error[:ERROR_CHARACTERS_MAX],
    )
