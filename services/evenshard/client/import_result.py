"""The answer to an import of any length, put together from the answers to its calls. Pure."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from heapq import nsmallest
from typing import Any, Final

import pyarrow as pa

from evenshard.api.v1 import ingest_pb2
from evenshard.client.answer import Answer
from evenshard.text.imports import import_blocks
from evenshard.text.table import Block

ERRORS_SHOWN_MAX: Final = 100


@dataclass(frozen=True, slots=True)
class Rejected:
    """One event that is not stored, or not known to be."""

    index: int
    """Its place in what was imported, from 0."""
    tenant: str
    insert_id: str
    field: str
    code: str
    message: str
    retryable: bool
    """Sent again with the same insert_id it may be accepted; it may already be stored."""


@dataclass(slots=True)
class Counts:
    """Of one tenant, or of everybody."""

    accepted: int = 0
    duplicates: int = 0
    """Of those accepted, what the cluster had stored before."""
    hot_events_rewritten: int = 0
    rejected: int = 0


@dataclass(frozen=True, slots=True, repr=False)
class ImportResult(Answer):
    """What became of every event: ``events_read = accepted + rejected``.

    ``accepted`` counts each event once however often it was sent. ``duplicates`` is what the cluster said: an event
    whose first send was stored but never answered for counts there when its retry is answered.
    """

    events_read: int
    accepted: int
    duplicates: int
    hot_events_rewritten: int
    rejected: int
    errors: list[dict[str, Any]]
    """The first 100 by index: index, tenant, insert_id, field, code, message, retryable."""
    errors_by_code: dict[str, int]
    by_tenant: dict[str, dict[str, int]]
    warnings: list[dict[str, Any]]
    seconds: float
    events_per_second: float
    trace_id: str

    def to_dict(self) -> dict[str, Any]:
        """The JSON document of ``evenshard import``."""
        return asdict(self)

    def to_arrow(self) -> pa.Table:
        """The errors, one row each."""
        return pa.Table.from_pylist(self.errors, schema=_ERROR_SCHEMA)

    def blocks(self) -> list[Block]:
        """The counts, of each tenant where there are several, and the errors."""
        return import_blocks(self.to_dict())


_ERROR_SCHEMA = pa.schema(
    [
        ("index", pa.int64()),
        ("tenant", pa.utf8()),
        ("insert_id", pa.utf8()),
        ("field", pa.utf8()),
        ("code", pa.utf8()),
        ("message", pa.utf8()),
        ("retryable", pa.bool_()),
    ]
)


@dataclass(slots=True)
class _Warned:
    message: str
    count: int


@dataclass(slots=True)
class Tally:
    """Adds up answers; its size does not depend on how many events there are."""

    counts: Counts = field(default_factory=Counts)
    by_tenant: dict[str, Counts] = field(default_factory=dict)
    errors: list[Rejected] = field(default_factory=list)
    errors_by_code: Counter[str] = field(default_factory=Counter)
    warnings: dict[str, _Warned] = field(default_factory=dict)
    kept: list[Rejected] | None = None
    """Every event that was rejected, where somebody wants them: as many as there are."""

    def add_answer(self, answer: ingest_pb2.ImportEventsResponse) -> None:
        """What a call stored and warned of; what it rejected is added by ``reject``, once that is final."""
        self._accept(self.counts, answer)
        for each in answer.by_tenant:
            if each.accepted:
                self._accept(self.by_tenant.setdefault(each.tenant, Counts()), each)
        for warning in answer.warnings:
            known = self.warnings.setdefault(warning.code, _Warned(warning.message, 0))
            known.count += warning.count

    def reject(self, rejects: Iterable[Rejected]) -> None:
        """Events that are finally not stored."""
        rejected = list(rejects)
        if self.kept is not None:
            self.kept += rejected
        self.counts.rejected += len(rejected)
        for each in rejected:
            self.errors_by_code[each.code] += 1
            if each.tenant:
                self.by_tenant.setdefault(each.tenant, Counts()).rejected += 1
        self._keep_first(rejected)

    def merge(self, other: "Tally") -> None:
        """Adds another tally."""
        _add(self.counts, other.counts)
        for tenant, counts in other.by_tenant.items():
            _add(self.by_tenant.setdefault(tenant, Counts()), counts)
        self.errors_by_code.update(other.errors_by_code)
        for code, warned in other.warnings.items():
            self.warnings.setdefault(code, _Warned(warned.message, 0)).count += warned.count
        self._keep_first(other.errors)

    def result(self, seconds: float, trace_id: str) -> ImportResult:
        events = self.counts.accepted + self.counts.rejected
        return ImportResult(
            events_read=events,
            accepted=self.counts.accepted,
            duplicates=self.counts.duplicates,
            hot_events_rewritten=self.counts.hot_events_rewritten,
            rejected=self.counts.rejected,
            errors=[asdict(each) for each in self.errors],
            errors_by_code=dict(sorted(self.errors_by_code.items())),
            by_tenant={tenant: asdict(counts) for tenant, counts in sorted(self.by_tenant.items())},
            warnings=[
                {"code": code, "message": warned.message, "count": warned.count}
                for code, warned in sorted(self.warnings.items())
            ],
            seconds=round(seconds, 3),
            events_per_second=round(events / seconds, 1) if seconds > 0 else 0.0,
            trace_id=trace_id,
        )

    @staticmethod
    def _accept(counts: Counts, said: ingest_pb2.ImportEventsResponse | ingest_pb2.TenantCounts) -> None:
        counts.accepted += said.accepted
        counts.duplicates += said.duplicates
        counts.hot_events_rewritten += said.hot_events_rewritten

    def _keep_first(self, more: Sequence[Rejected]) -> None:
        if more:
            self.errors = nsmallest(ERRORS_SHOWN_MAX, [*self.errors, *more], key=lambda each: each.index)


def _add(counts: Counts, more: Counts) -> None:
    counts.accepted += more.accepted
    counts.duplicates += more.duplicates
    counts.hot_events_rewritten += more.hot_events_rewritten
    counts.rejected += more.rejected
