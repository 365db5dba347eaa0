"""What cannot be read any more, on record: whose rows it held and of which days, so that only those go without.

Queries that may need such rows fail with ``DATA_DAMAGED``, everything else goes on. An event that was lost is nobody's
first copy: the earliest copy that is left becomes the original, and one that is imported again is stored as new.

A quarantine ends in one of two ways, and stays on record: the file was *mended*, all its rows are there again; or the
loss was *accepted*, queries are answered without them, and say so.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from typing import Final, Literal

from evenshard.errors import EvenshardError
from evenshard.ids import TenantId
from evenshard.storage.segment.info import DAY_MS, SegmentInfo, day_of

State = Literal["in_force", "accepted", "mended"]
_IN_FORCE: Final[State] = "in_force"
_HINT = (
    "ask for other days, or with --allow-partial for what other shards have. To end it, stop the shard, then evenshard "
    "fsck DIR --repair, once the file is as it was, or evenshard fsck DIR --accept-loss, where it is lost for good"
)


@dataclass(frozen=True, slots=True)
class Quarantined:
    """Bytes ``offset`` to ``end`` of a file (equal: they are missing there). Days are UTC days since the epoch,
    inclusive; None: any day."""

    file: str
    offset: int
    end: int
    first_row: int
    """With ``end_row``, exclusive: the log positions that are lost; both 0 for a segment."""
    end_row: int
    tenants: tuple[TenantId, ...]
    """Whose rows may have been there."""
    first_day: int | None
    last_day: int | None
    rows: int
    """That are lost, at most."""
    reason: str
    state: State = _IN_FORCE

    @property
    def is_in_force(self) -> bool:
        """Queries that may need the rows are refused."""
        return self.state == "in_force"

    @property
    def is_accepted(self) -> bool:
        """Queries are answered without the rows, and say so."""
        return self.state == "accepted"

    @property
    def is_mended(self) -> bool:
        """All of it could be read again."""
        return self.state == "mended"

    def ended(self, state: State) -> "Quarantined":
        """As it stands on record from then on."""
        return replace(self, state=state)

    @property
    def key(self) -> str:
        """In the catalog."""
        return f"quarantine/{self.file}/{self.offset}"

    def touches(self, start_ms: int, end_ms: int) -> bool:
        """Whether rows with ``start_ms <= time < end_ms`` may be among the lost ones."""
        if self.first_day is None or self.last_day is None:
            return True
        return self.first_day * DAY_MS < end_ms and start_ms < (self.last_day + 1) * DAY_MS

    @property
    def days(self) -> str:
        """As people read them."""
        if self.first_day is None or self.last_day is None:
            return "any day"
        first, last = (
            datetime.fromtimestamp(day * DAY_MS // 1000, UTC).date().isoformat()
            for day in (self.first_day, self.last_day)
        )
        return first if first == last else f"{first} to {last}"


def quarantined_segment(info: SegmentInfo, error: EvenshardError) -> Quarantined:
    """A segment as a whole: which of its rows can still be read is not asked."""
    return Quarantined(
        file=info.parquet,
        offset=0,
        end=info.bytes,
        first_row=0,
        end_row=0,
        tenants=(info.tenant,),
        first_day=day_of(info.min_time_ms),
        last_day=day_of(info.max_time_ms),
        rows=info.rows,
        reason=error.message,
    )


def refusal(tenant: TenantId, found: Quarantined) -> EvenshardError:
    """What a query gets whose rows may be among those lost: tenant, days, file."""
    return EvenshardError(
        "DATA_DAMAGED",
        f"{found.file}: rows of {tenant} of {found.days} are lost: {found.reason}",
        _HINT,
        details={"tenant": tenant, "days": found.days, "file": found.file, "offset": str(found.offset)},
    )


def of_tenant(found: Iterable[Quarantined], tenant: TenantId) -> tuple[Quarantined, ...]:
    """Those that may concern a tenant."""
    return tuple(each for each in found if tenant in each.tenants)


def to_json(found: Quarantined) -> bytes:
    """As the catalog stores it; of one in force the state is not said."""
    record = asdict(found)
    if found.is_in_force:
        del record["state"]
    return json.dumps(record, separators=(",", ":"), sort_keys=True).encode()


def from_json(data: bytes) -> Quarantined:
    """What ``to_json`` wrote; raises ``KeyError`` or ``ValueError`` for anything else."""
    record = json.loads(data)
    record["tenants"] = tuple(TenantId(name) for name in record["tenants"])
    record.setdefault("state", _IN_FORCE)
    return Quarantined(**{field.name: record[field.name] for field in fields(Quarantined)})
