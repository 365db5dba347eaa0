"""The real directory: an etcd cluster, spoken to over gRPC by a small client of ours (TLS, several members, watches
that resume, swaps whose lost replies are resolved)."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import grpc
import grpc.aio

from evenshard.api.etcd import rpc_pb2 as rpc
from evenshard.errors import EvenshardError
from evenshard.ids import Revision
from evenshard.ports.directory import Changes, Delete, Entry, Put, Snapshot, SwapResult, Unchanged
from evenshard.runtime.etcd_members import EtcdTls, Member, Members
from evenshard.runtime.etcd_swap import refusal, swap
from evenshard.runtime.etcd_watch import entry, read_range, watch


class EtcdDirectory:
    """``Directory`` on etcd ≥ 3.4. Belongs to one event loop; make it inside of it.

    ``endpoints``: ``host:port`` or ``https://host:port`` of each member; the next is used after a failure.
    """

    def __init__(self, endpoints: Sequence[str], tls: EtcdTls | None = None) -> None:
        self._members = Members(endpoints, tls)

    async def get(self, key: str, *, timeout_s: float = 5.0) -> Entry | None:
        async def call(member: Member, try_s: float) -> Any:
            return await member.kv.Range(rpc.RangeRequest(key=key.encode()), timeout=try_s)

        answer = await self._ask(call, timeout_s)
        return entry(answer.kvs[0]) if answer.kvs else None

    async def range(self, prefix: str, *, timeout_s: float = 5.0) -> Snapshot:
        return await read_range(self._members, prefix, timeout_s)

    async def swap(
        self, conditions: Sequence[Unchanged], changes: Sequence[Put | Delete], *, timeout_s: float = 5.0
    ) -> SwapResult:
        return await swap(self._members, conditions, changes, timeout_s)

    def watch(self, prefix: str, after: Revision) -> AsyncIterator[Changes]:
        return watch(self._members, prefix, after)

    async def grant(self, ttl_s: int, *, timeout_s: float = 5.0) -> int:
        """A lease whose grant's reply was lost lapses by itself."""

        async def call(member: Member, try_s: float) -> Any:
            return await member.lease.LeaseGrant(rpc.LeaseGrantRequest(TTL=ttl_s), timeout=try_s)

        return int((await self._ask(call, timeout_s)).ID)

    async def keep_alive(self, lease: int, *, timeout_s: float = 5.0) -> bool:
        async def call(member: Member, try_s: float) -> Any:
            stream = member.lease.LeaseKeepAlive(timeout=try_s)
            try:
                await stream.write(rpc.LeaseKeepAliveRequest(ID=lease))
                return await stream.read()
            finally:
                stream.cancel()

        answer = await self._ask(call, timeout_s)
        if answer is grpc.aio.EOF:  # type: ignore[attr-defined]
            raise self._members.unavailable("it ended a lease's stream")
        return bool(answer.TTL > 0)

    async def revoke(self, lease: int, *, timeout_s: float = 5.0) -> None:
        async def call(member: Member, try_s: float) -> Any:
            return await member.lease.LeaseRevoke(rpc.LeaseRevokeRequest(ID=lease), timeout=try_s)

        try:
            await self._ask(call, timeout_s)
        except EvenshardError as error:
            if error.code != "OPERATION_STATE":  # it has lapsed already
                raise

    async def versions(self, *, timeout_s: float = 2.0) -> Mapping[str, str]:
        """The version each member says it is of, by address; those that do not answer are left out."""

        async def asked(member: Member) -> tuple[str, str]:
            try:
                answer = await self._members.guarded(
                    member.maintenance.Status(rpc.StatusRequest(), timeout=timeout_s, wait_for_ready=True)
                )
            except grpc.aio.AioRpcError:
                return member.address, ""
            return member.address, str(answer.version)

        answers = await asyncio.gather(*map(asked, self._members.all))
        return {address: version for address, version in answers if version}

    async def close(self) -> None:
        """Ends all connections, and watches with them."""
        await self._members.close()

    async def _ask(self, call: Any, timeout_s: float) -> Any:
        try:
            return await self._members.ask(call, timeout_s)
        except grpc.aio.AioRpcError as error:
            raise refusal(self._members, error) from error
