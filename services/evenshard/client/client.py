"""The blocking client: ``AsyncClient`` run on a shared loop, so that there is one implementation."""

import functools
from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, TypeVar

from evenshard.client.async_client import AsyncClient
from evenshard.client.blocking_export import Export
from evenshard.client.exports import AsyncExport
from evenshard.client.loop import run_blocking

_Arguments = ParamSpec("_Arguments")
_Value = TypeVar("_Value")


def _waiting(
    method: Callable[Concatenate[AsyncClient, _Arguments], Coroutine[Any, Any, _Value]],
) -> Callable[Concatenate["Client", _Arguments], _Value]:
    """The same method, with the same arguments and words, that returns when it is done."""

    @functools.wraps(method)
    def waiting(self: "Client", /, *args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Value:
        return run_blocking(method(self._client, *args, **kwargs))

    waiting.__qualname__ = f"Client.{method.__name__}"
    return waiting


def _exporting(
    method: Callable[Concatenate[AsyncClient, _Arguments], AsyncExport],
) -> Callable[Concatenate["Client", _Arguments], Export]:
    """The same method, whose export is iterated without ``await``."""

    @functools.wraps(method)
    def exporting(self: "Client", /, *args: _Arguments.args, **kwargs: _Arguments.kwargs) -> Export:
        return Export(method(self._client, *args, **kwargs))

    exporting.__qualname__ = f"Client.{method.__name__}"
    return exporting


class Client:
    """A connection to one router and one gateway; a context manager; may be shared by threads.

    Every method is that of ``AsyncClient``, and differs only in that it waits.
    """

    def __init__(self, connect: Callable[[], AsyncClient]) -> None:
        async def made() -> AsyncClient:
            return connect()

        self._client = run_blocking(made())

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    close = _waiting(AsyncClient.close)

    import_events = _waiting(AsyncClient.import_events)
    import_table = _waiting(AsyncClient.import_table)
    import_file = _waiting(AsyncClient.import_file)
    export = _exporting(AsyncClient.export)

    segmentation = _waiting(AsyncClient.segmentation)
    segmentation_of = _waiting(AsyncClient.segmentation_of)
    funnel = _waiting(AsyncClient.funnel)
    funnel_of = _waiting(AsyncClient.funnel_of)
    retention = _waiting(AsyncClient.retention)
    retention_of = _waiting(AsyncClient.retention_of)
    flows = _waiting(AsyncClient.flows)
    flows_of = _waiting(AsyncClient.flows_of)
    detect = _waiting(AsyncClient.detect)

    schema = _waiting(AsyncClient.schema)
    schema_of = _waiting(AsyncClient.schema_of)
    timeline = _waiting(AsyncClient.timeline)
    timeline_of = _waiting(AsyncClient.timeline_of)

    save_cohort = _waiting(AsyncClient.save_cohort)
    cohorts = _waiting(AsyncClient.cohorts)
    delete_cohort = _waiting(AsyncClient.delete_cohort)

    create_tenant = _waiting(AsyncClient.create_tenant)
    set_tenant = _waiting(AsyncClient.set_tenant)
    tenant = _waiting(AsyncClient.tenant)
    tenants = _waiting(AsyncClient.tenants)
    compact = _waiting(AsyncClient.compact)
    pause_compaction = _waiting(AsyncClient.pause_compaction)
    resume_compaction = _waiting(AsyncClient.resume_compaction)
    storage = _waiting(AsyncClient.storage)
    shards = _waiting(AsyncClient.shards)
    slow_queries = _waiting(AsyncClient.slow_queries)
    traces = _waiting(AsyncClient.traces)
    top = _waiting(AsyncClient.top)
    hot_key_report = _waiting(AsyncClient.hot_key_report)
    claim_report = _waiting(AsyncClient.claim_report)
    record_report = _waiting(AsyncClient.record_report)
    delete_users = _waiting(AsyncClient.delete_users)
    operations = _waiting(AsyncClient.operations)
    audit = _waiting(AsyncClient.audit)
    operation = _waiting(AsyncClient.operation)
    wait_operation = _waiting(AsyncClient.wait_operation)
    cancel_operation = _waiting(AsyncClient.cancel_operation)
    pause_operation = _waiting(AsyncClient.pause_operation)
    resume_operation = _waiting(AsyncClient.resume_operation)
    verify_operation = _waiting(AsyncClient.verify_operation)
    repair = _waiting(AsyncClient.repair)
    repair_plan = _waiting(AsyncClient.repair_plan)
    undo_repair = _waiting(AsyncClient.undo_repair)
    move_tenant = _waiting(AsyncClient.move_tenant)
    plan_move = _waiting(AsyncClient.plan_move)
    split_tenant = _waiting(AsyncClient.split_tenant)
    plan_split = _waiting(AsyncClient.plan_split)
    merge_tenant = _waiting(AsyncClient.merge_tenant)
    plan_merge = _waiting(AsyncClient.plan_merge)
    isolate_tenant = _waiting(AsyncClient.isolate_tenant)
    plan_isolate = _waiting(AsyncClient.plan_isolate)
    drain_shard = _waiting(AsyncClient.drain_shard)
    plan_drain = _waiting(AsyncClient.plan_drain)
    rebalance = _waiting(AsyncClient.rebalance)
    plan_rebalance = _waiting(AsyncClient.plan_rebalance)
    cordon_shard = _waiting(AsyncClient.cordon_shard)
    uncordon_shard = _waiting(AsyncClient.uncordon_shard)
    rollback_operation = _waiting(AsyncClient.rollback_operation)
    complete_operation = _waiting(AsyncClient.complete_operation)
    delete_tenant = _waiting(AsyncClient.delete_tenant)
    undelete_tenant = _waiting(AsyncClient.undelete_tenant)
    export_hot_key = _waiting(AsyncClient.export_hot_key)
