"""Asks counters for the counts of single keys, and for the largest there are."""

from collections.abc import Sequence
from datetime import date

import numpy as np
import pyarrow as pa

from evenshard.errors import EvenshardError
from evenshard.events.hashing import hash_of
from evenshard.hotkeys.aggregate import NAME_SCHEMA
from evenshard.hotkeys.marks import HotKey
from evenshard.ids import TenantId
from evenshard.ports.peers import Peers
from evenshard.runtime.services import ServiceView
from evenshard.wire.counting import hot_keys_request, lookup_request
from evenshard.wire.rpcs import GET_COUNTS, LIST_HOT_KEYS

LARGEST_KEYS_MAX = 10_000
"""Keys a counter tells a router of that has just started."""
_EPOCH_DAY = date(1970, 1, 1)

Counts = dict[HotKey, int]


class CounterLookups:
    """All counters of the cluster as one. Methods raise what calls raise."""

    def __init__(self, peers: Peers, services: ServiceView) -> None:
        self._peers = peers
        self._services = services

    @property
    def possible(self) -> bool:
        """Whether the directory lists a counter."""
        return bool(self._services.of_kind("counter"))

    async def counts(self, tenant: TenantId, keys: Sequence[HotKey], timeout_s: float) -> Counts:
        """The counts of some keys of one tenant; those nothing is known of are left out."""
        found: Counts = {}
        counters = self._services.of_kind("counter")
        owners = np.array([hash_of(distinct_id) for _, distinct_id, _ in keys], np.uint64) % np.uint64(
            max(1, len(counters))
        )
        for number, counter in enumerate(counters):
            asked = [keys[key] for key in np.flatnonzero(owners == np.uint64(number)).tolist()]
            if asked:
                columns = [
                    pa.array([key[1] for key in asked], pa.utf8()),
                    pa.array([key[2] for key in asked], pa.int32()),
                ]
                request = lookup_request(tenant, pa.RecordBatch.from_arrays(columns, schema=NAME_SCHEMA))
                response = await self._peers.call(counter.address, GET_COUNTS, request, timeout_s=timeout_s)
                if len(response.counts) != len(asked):
                    raise EvenshardError(
                        "INTERNAL", f"{counter.name} answered for {len(response.counts)} of {len(asked)}"
                    )
                found.update((key, count) for key, count in zip(asked, response.counts, strict=True) if count)
        return found

    async def largest(self, tenant: TenantId | None, timeout_s: float) -> Counts:
        """The keys counted most, of one tenant or of all: at most ``LARGEST_KEYS_MAX`` a counter."""
        found: Counts = {}
        for counter in self._services.of_kind("counter"):
            request = hot_keys_request(tenant or "", LARGEST_KEYS_MAX)
            response = await self._peers.call(counter.address, LIST_HOT_KEYS, request, timeout_s=timeout_s)
            for key in response.keys:
                day = (date.fromisoformat(key.date) - _EPOCH_DAY).days
                found[TenantId(key.tenant), key.distinct_id, day] = key.count
        return found
