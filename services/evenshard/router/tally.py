"""Keeps account of an import: every event of the payload ends as stored or as rejected, exactly once. Pure."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from evenshard.events.rejects import Decoded, Reject
from evenshard.router.partition import Int64, Part
from evenshard.wire.ingest import ImportResult, TenantCounts
from evenshard.wire.shards import Bools


@dataclass(frozen=True, slots=True, eq=False)
class _Refusal:
    """Events that share one reason."""

    tenant: str
    insert_ids: pa.StringArray
    positions: Int64
    code: str
    message: str
    field: str

    def rejects(self) -> Iterable[Reject]:
        for position, insert_id in zip(self.positions.tolist(), self.insert_ids.to_pylist(), strict=True):
            yield Reject(position, self.tenant, insert_id or "", self.field, self.code, self.message)


class Tally:
    """Begins with what decoding rejected."""

    def __init__(self, decoded: Decoded) -> None:
        self._decoded = decoded
        self._stored: dict[str, TenantCounts] = defaultdict(TenantCounts)
        self._refusals: list[_Refusal] = []

    def stored(self, part: Part, duplicates: Bools) -> None:
        """A shard has synced the part."""
        counts = self._stored[part.tenant]
        counts.accepted += part.rows
        counts.duplicates += int(duplicates.sum())
        if part.hot is not None:
            counts.hot_events_rewritten += int(np.count_nonzero(part.hot & ~duplicates))

    def refused(self, part: Part, code: str, message: str) -> None:
        """The events of a part come back with ``code``."""
        self.refused_rows(part.tenant, part.batch.record.column("insert_id"), part.positions, code, message)

    def refused_rows(
        self, tenant: str, insert_ids: pa.StringArray, positions: Int64, code: str, message: str, field: str = ""
    ) -> None:
        self._refusals.append(_Refusal(tenant, insert_ids, positions, code, message, field))

    def result(self) -> ImportResult:
        """The answer; loops over the rejected events."""
        rejects = [*self._decoded.rejects]
        for refusal in self._refusals:
            rejects.extend(refusal.rejects())
        rejects.sort(key=lambda reject: reject.index)
        for reject in rejects:
            if reject.tenant:
                self._stored[reject.tenant].rejected += 1
        return ImportResult(rejects, dict(self._stored), self._decoded.warnings)
