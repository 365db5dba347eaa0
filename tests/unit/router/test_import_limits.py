"""A whole cluster in one process: a tenant over its limit is told to wait, stores nothing, and disturbs nobody."""

import orjson
import pytest
from evenshard.directory.tenant import TenantSettings
from evenshard.errors import EvenshardError
from evenshard.testing.cluster import MemoryCluster

TIME_MS = 1_767_225_600_000


def lines(first: int, rows: int, *tenants: str) -> bytes:
    return b"\n".join(
        orjson.dumps(
            {"event": "e", "tenant": tenant, "distinct_id": f"u{number}", "time": TIME_MS, "insert_id": f"i{number}"}
        )
        for number in range(first, first + rows)
        for tenant in tenants
    )


async def total(cluster: MemoryCluster, tenant: str) -> int:
    answer = await cluster.segmentation(tenant, "2026-01-01", "2026-01-01")
    return sum(value.int64_value for series in answer.series for value in series.values)


async def test_a_call_over_the_limit_of_one_tenant_stores_nothing_of_any_and_passes_when_told_to_come() -> None:
    async with MemoryCluster(shards=1) as cluster:
        await cluster.create_tenant("a", TenantSettings(events_per_second=100))
        await cluster.create_tenant("b")
        both = lines(0, 110, "a", "b")
        assert (await cluster.import_events("", ndjson=both)).accepted == 220  # into debt: larger than a second's worth
        for tenant, payload in (("", lines(200, 1, "b", "a")), ("a", lines(200, 1, "a"))):
            with pytest.raises(EvenshardError) as caught:
                await cluster.import_events(tenant, ndjson=payload)
            error = caught.value
            assert (error.code, error.details["tenant"], error.details["limit"]) == (
                "LIMIT_EXCEEDED",
                "a",
                "events_per_second",
            )
            assert 0 < (error.retry_after_ms or 0) <= 2_300
        assert [await total(cluster, tenant) for tenant in "ab"] == [110, 110]
        assert (await cluster.import_events("b", ndjson=lines(300, 500, "b"))).accepted == 500
        await cluster.clock.sleep(error.retry_after_ms or 0)
        assert (await cluster.import_events("", ndjson=lines(200, 1, "a", "b"))).accepted == 2
        assert [await total(cluster, tenant) for tenant in "ab"] == [111, 611]


async def test_bytes_are_limited_as_they_are_sent_and_bad_lines_cost_them_too() -> None:
    async with MemoryCluster(shards=1) as cluster:
        await cluster.create_tenant("a", TenantSettings(bytes_per_second=1_000))
        await cluster.import_events("a", ndjson=b"nothing\n" * 200)
        with pytest.raises(EvenshardError) as caught:
            await cluster.import_events("a", ndjson=lines(0, 1, "a"))
        assert caught.value.details["limit"] == "bytes_per_second"


async def test_a_limit_that_is_lifted_is_gone_at_once() -> None:
    async with MemoryCluster(shards=1) as cluster:
        tenant = await cluster.create_tenant("a", TenantSettings(events_per_second=1))
        await cluster.import_events("a", ndjson=lines(0, 1_000, "a"))
        with pytest.raises(EvenshardError, match="LIMIT_EXCEEDED"):
            await cluster.import_events("a", ndjson=lines(2_000, 1, "a"))
        await cluster.create_tenant("a", TenantSettings(), tenant.placement)

        async def passes() -> bool:
            try:
                return (await cluster.import_events("a", ndjson=lines(3_000, 1, "a"))).accepted == 1
            except EvenshardError as error:
                assert error.code == "LIMIT_EXCEEDED"  # noqa: PT017 - any other fails
                return False

        await cluster.until(passes)
