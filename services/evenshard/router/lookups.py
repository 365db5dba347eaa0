"""Asks counters for the counts of single keys, and for all that are near a threshold."""

from collections.abc import AsyncIterator, Sequence
from datetime import date

import numpy as np
import pyarrow as pa

from evenshard.api.v1 import counter_pb2
from evenshard.errors import EvenshardError
from evenshard.events.hashing import hash_of
from evenshard.hotkeys.aggregate import NAME_SCHEMA
from evenshard.hotkeys.marks import HotKey
from evenshard.ids import TenantId
from evenshard.ports.peers import Peers
from evenshard.runtime.logs import logger
from evenshard.runtime.services import ServiceView
from evenshard.wire.counting import hot_keys_request, lookup_request
from evenshard.wire.rpcs import GET_COUNTS, LIST_HOT_KEYS

PAGE_KEYS = 10_000
"""Keys a counter tells a router of at once that has just started."""
PAGES_MAX = 100
"""Of one tenant at one counter."""
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

    async def largest(self, timeout_s: float) -> tuple[Counts, int]:
        """The keys counted most, of all tenants: at most ``PAGE_KEYS`` a counter; and a count that no key has which is
        left out, 0: none is."""
        found: Counts = {}
        left_out_max = 0
        for counter in self._services.of_kind("counter"):
            request = hot_keys_request("", PAGE_KEYS)
            response = await self._peers.call(counter.address, LIST_HOT_KEYS, request, timeout_s=timeout_s)
            for key, count in _counts_in(response).items():
                found[key] = found.get(key, 0) + count
            left_out_max = max(left_out_max, response.listed_from - 1)
            if len(response.keys) >= PAGE_KEYS:
                left_out_max = max(left_out_max, response.keys[-1].count)
        return found, left_out_max

    async def near(self, tenant: TenantId, count_min: int, timeout_s: float) -> AsyncIterator[Counts]:
        """All keys of a tenant counted at least so often, in pages, of which each takes at most ``timeout_s``; no more
        than ``PAGES_MAX`` of a counter, what is beyond is said in the log."""
        for counter in self._services.of_kind("counter"):
            hash_from = 0
            for _ in range(PAGES_MAX):
                request = hot_keys_request(tenant, PAGE_KEYS, count_min=count_min, hash_from=hash_from)
                response = await self._peers.call(counter.address, LIST_HOT_KEYS, request, timeout_s=timeout_s)
                yield _counts_in(response)
                hash_from = response.hash_next
                if not hash_from:
                    break
            else:
                logger().warning(
                    "more keys are near their threshold than a router asks for: some may be noticed late",
                    tenant=tenant,
                    counter=counter.name,
                    asked_for=PAGES_MAX * PAGE_KEYS,
                )


def _counts_in(response: counter_pb2.ListHotKeysResponse) -> Counts:
    return {
        (TenantId(key.tenant), key.distinct_id, (date.fromisoformat(key.date) - _EPOCH_DAY).days): key.count
        for key in response.keys
    }
