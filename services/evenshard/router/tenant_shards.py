"""Calls all shards of a tenant at once, at its epoch; reads the placement again where a shard knows a newer one."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from dataclasses import replace
from typing import Final, TypeVar, cast

from evenshard.directory.changes import tenant_not_found
from evenshard.directory.tenant import Tenant, tenant_id
from evenshard.errors import EvenshardError
from evenshard.ids import Epoch, Revision, ShardId
from evenshard.ports.peers import Peers, Rpc
from evenshard.runtime.services import ServiceView
from evenshard.runtime.tenants import TenantView

Request = TypeVar("Request")
Response = TypeVar("Response")
Answers = tuple[dict[ShardId, Response], dict[ShardId, EvenshardError]]
"""What each shard answered, or why it did not."""

PLANS_MAX: Final = 3
"""How often the placement is read again because a shard knows a newer one."""
_NO_ANSWER: Final = frozenset({"UNREACHABLE", "DEADLINE_EXCEEDED", "SHARD_UNAVAILABLE"})


class TenantShards:
    """Reaches shards where the directory says they are."""

    def __init__(self, tenants: TenantView, services: ServiceView, peers: Peers) -> None:
        self._tenants = tenants
        self._services = services
        self._peers = peers

    async def each(
        self,
        name: str,
        rpc: Rpc[Request, Response],
        request_at: Callable[[Epoch], Request],
        timeout_s: Callable[[], float],
        also: Iterable[ShardId] = (),
    ) -> Answers[Response]:
        """Asks every shard that holds slots of tenant ``name``, and those of ``also``, until it has answered once, or
        failed; ``timeout_s`` is asked before each try. Raises ``TENANT_NOT_FOUND``, ``DIRECTORY_UNAVAILABLE``."""
        tenant = await self.tenant(name, timeout_s())
        answers: dict[ShardId, Response] = {}
        for plans_left in reversed(range(PLANS_MAX)):
            wanted = dict.fromkeys((*tenant.placement.shards, *also))
            shards = [shard for shard in wanted if shard not in answers]
            answered, failed = await self.ask(shards, rpc, request_at(tenant.placement.epoch), timeout_s())
            answers |= answered
            if not failed or not plans_left or any(error.code != "STALE_EPOCH" for error in failed.values()):
                return answers, failed
            tenant = await self._fetch(tenant.name, timeout_s())
        raise AssertionError

    async def tenant(self, name: str, timeout_s: float) -> Tenant:
        """As last seen, or as the directory has it. Raises ``TENANT_NOT_FOUND``."""
        return self._tenants.get(tenant_id(name)) or await self._fetch(name, timeout_s)

    async def refreshed(self, name: str, timeout_s: float) -> Tenant:
        """As the directory has it now. Raises ``TENANT_NOT_FOUND``, ``DIRECTORY_UNAVAILABLE``."""
        return await self._fetch(name, timeout_s)

    def learn(self, tenant: Tenant, revision: Revision) -> None:
        """Shows a tenant that this process has just written."""
        self._tenants.learn(tenant, revision)

    async def ask(
        self, shards: Iterable[ShardId], rpc: Rpc[Request, Response], request: Request, timeout_s: float
    ) -> Answers[Response]:
        """The same request to some shards, all at once."""
        answered: dict[ShardId, Response] = {}
        failed: dict[ShardId, EvenshardError] = {}

        async def ask(shard: ShardId) -> None:
            record = self._services.get(shard)
            if record is None:
                failed[shard] = EvenshardError("SHARD_UNAVAILABLE", "it is not listed in the directory")
                return
            try:
                answered[shard] = await self._peers.call(record.address, rpc, request, timeout_s=timeout_s)
            except EvenshardError as error:
                failed[shard] = error

        async with asyncio.TaskGroup() as group:
            for shard in shards:
                group.create_task(ask(shard))
        return answered, failed

    async def one(self, shard: ShardId, rpc: Rpc[Request, Response], request: Request, timeout_s: float) -> Response:
        """One shard's answer. Raises what it raises, and ``SHARD_UNAVAILABLE``."""
        return await self._peers.call(self.address(shard), rpc, request, timeout_s=timeout_s)

    def stream(
        self, shard: ShardId, rpc: Rpc[Request, Response], request: Request, timeout_s: float
    ) -> AsyncGenerator[Response, None]:
        """One shard's messages; to be closed."""
        messages = self._peers.stream(self.address(shard), rpc, request, timeout_s=timeout_s)
        return cast(AsyncGenerator[Response, None], messages)

    def is_listed(self, shard: ShardId) -> bool:
        """Whether the directory says where it is; it need not be up."""
        return self._services.get(shard) is not None

    def address(self, shard: ShardId) -> str:
        """Where a shard serves. Raises ``SHARD_UNAVAILABLE``."""
        record = self._services.get(shard)
        if record is None:
            raise EvenshardError("SHARD_UNAVAILABLE", f"{shard} is not listed in the directory")
        return record.address

    async def _fetch(self, name: str, timeout_s: float) -> Tenant:
        tenant = await self._tenants.fetch(name, timeout_s=timeout_s)
        if tenant is None:
            raise tenant_not_found(name)
        return tenant


def first_failure(failed: Mapping[ShardId, EvenshardError]) -> EvenshardError:
    """The failure a caller must act on: one that waiting does not cure, else all silent shards by name."""
    for shard, error in sorted(failed.items()):
        if error.code not in _NO_ANSWER:
            return replace(error, message=f"{shard}: {error.message}", details={**error.details, "shard": shard})
    names = ", ".join(sorted(failed))
    reasons = "; ".join(f"{shard}: {error.message}" for shard, error in sorted(failed.items()))
    return EvenshardError("SHARD_UNAVAILABLE", f"no answer from {names} ({reasons})", details={"shards": names})
