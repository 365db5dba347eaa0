"""Scans of a shard for what is not counted: the schema, and one user's timeline."""

from dataclasses import asdict, dataclass

import orjson

PLAN_VERSION = 1

TimelineKey = tuple[int, str, str | None]
"""time, event and insert_id of a row of one user."""


@dataclass(frozen=True, slots=True)
class SchemaScan:
    """Names, types and values, as asked of a shard."""

    ranges_ms: tuple[int, ...]
    """Ascending, in pairs: half-open intervals."""
    properties: bool
    """Properties too, not only events."""
    values: bool
    """Values of properties too, not only names and types."""
    rows_max: int
    """Rows to look at, about; 0: all."""
    skip_duplicates: bool

    @property
    def start_ms(self) -> int:
        return self.ranges_ms[0]

    @property
    def end_ms(self) -> int:
        return self.ranges_ms[-1]

    def to_json(self) -> bytes:
        return orjson.dumps({"version": PLAN_VERSION, "kind": "schema", **asdict(self)})

    @staticmethod
    def from_json(data: bytes) -> "SchemaScan":
        """Raises ``ValueError``, ``KeyError`` or ``TypeError`` for anything else than what ``to_json`` wrote."""
        plan = orjson.loads(data)
        if (plan.pop("version"), plan.pop("kind")) != (PLAN_VERSION, "schema"):
            raise ValueError("not a schema of a version known here")
        return SchemaScan(ranges_ms=tuple(plan.pop("ranges_ms")), **plan)


@dataclass(frozen=True, slots=True)
class TimelineScan:
    """A page of one user's events, as asked of the shard the user is on."""

    ranges_ms: tuple[int, ...]
    """Ascending, in pairs: half-open intervals."""
    user: str
    where: str
    """Source of the filter; empty: all events."""
    after: TimelineKey | None
    """Rows from this one on; None: from the first."""
    skip: int
    """Rows of ``after`` to leave out: those that agree in all of it keep their order."""
    limit: int
    """Rows."""
    skip_duplicates: bool

    @property
    def start_ms(self) -> int:
        return self.ranges_ms[0] if self.after is None else max(self.ranges_ms[0], self.after[0])

    @property
    def end_ms(self) -> int:
        return self.ranges_ms[-1]

    def to_json(self) -> bytes:
        return orjson.dumps({"version": PLAN_VERSION, "kind": "timeline", **asdict(self)})

    @staticmethod
    def from_json(data: bytes) -> "TimelineScan":
        """Raises ``ValueError``, ``KeyError`` or ``TypeError`` for anything else than what ``to_json`` wrote."""
        plan = orjson.loads(data)
        if (plan.pop("version"), plan.pop("kind")) != (PLAN_VERSION, "timeline"):
            raise ValueError("not a timeline of a version known here")
        after = plan.pop("after")
        if after is not None:
            time, event, insert = after
            after = (time, event, insert)
        return TimelineScan(ranges_ms=tuple(plan.pop("ranges_ms")), after=after, **plan)
