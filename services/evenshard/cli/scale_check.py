"""``evenshard scale-check``: whether the cluster may shrink to so many shards; what the chart asks before it does.

It reads the directory itself, so it answers where no router does.
"""

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from evenshard.cli.output import JsonOption, print_result
from evenshard.cli.settings import load_settings
from evenshard.errors import EvenshardError

if TYPE_CHECKING:
    from evenshard.directory.surplus import SurplusShard
    from evenshard.runtime.etcd import EtcdDirectory

CHECK_TIMEOUT_S: Final = 1.0
GONE_TIMEOUT_S: Final = 120.0
"""How long ``--forget`` waits for a shard to be gone: longer than one is given to stop."""
LOOK_EVERY_S: Final = 1.0
TENANTS_NAMED_MAX: Final = 3


def command(
    shards: Annotated[int, typer.Option(min=1, help="How many shards there are to be: shard-0 and so on.")],
    etcd: Annotated[list[str], typer.Option(envvar="ETCD_ENDPOINTS", help="host:port of etcd; repeat for several.")],
    forget: Annotated[
        bool, typer.Option("--forget", help="Once the others have stopped, take them off the list of services.")
    ] = False,
    json_output: JsonOption = False,
) -> None:
    """Refuses fewer shards than hold slots of tenants; exit status 4 then."""
    endpoints = tuple(each for one in etcd for each in one.split(",") if each)
    document = asyncio.run(_checked(shards, endpoints, forget=forget))
    print_result(document, as_json=json_output, human=_text)


async def _checked(count: int, endpoints: tuple[str, ...], *, forget: bool) -> dict[str, Any]:
    from evenshard.directory.deleted_tenant import DeletedTenant
    from evenshard.directory.keys import DELETED, SERVICES, TENANTS
    from evenshard.directory.service import ServiceRecord
    from evenshard.directory.surplus import surplus_shards
    from evenshard.directory.tenant import Tenant
    from evenshard.ids import ShardId
    from evenshard.runtime.directory_start import await_directory, etcd_tls
    from evenshard.runtime.etcd import EtcdDirectory
    from evenshard.runtime.logs import start_logs

    settings = load_settings()
    start_logs("scale-check")
    directory = EtcdDirectory(endpoints, etcd_tls(settings))
    try:
        await await_directory(directory, endpoints, SERVICES, settings, lambda _: None)
        services = [ServiceRecord.from_json(entry.value) for entry in (await directory.range(SERVICES)).entries]
        tenants = [Tenant.from_json(entry.value) for entry in (await directory.range(TENANTS)).entries]
        deleted = (await directory.range(DELETED)).entries  # they can be had back, rows and all
        tenants += [DeletedTenant.from_json(entry.value).tenant for entry in deleted]
        addresses = {ShardId(each.name): each.address for each in services if each.kind == "shard"}
        surplus = surplus_shards(addresses, tenants, count)
        refuse_held(surplus, count)
        forgotten = []
        if forget:
            forgotten = [each.shard for each in surplus if await _forgotten(directory, each.shard)]
    finally:
        await directory.close()
    return {"shards": count, "surplus": [each.shard for each in surplus], "forgotten": forgotten}


def refuse_held(surplus: "list[SurplusShard]", count: int) -> None:
    """Raises ``SHARD_NOT_ELIGIBLE`` naming the shards that still hold slots."""
    held = [each for each in surplus if not each.is_empty]
    if not held:
        return
    named = "; ".join(f"{each.shard} holds {each.slots} slots of {_tenants(each)}" for each in held)
    last = max(int(each.shard.rpartition("-")[2]) for each in held)
    raise EvenshardError(
        "SHARD_NOT_ELIGIBLE",
        f"{count} shards are too few: {named}",
        hint=f"drain them first, or keep {last + 1} shards; nothing was changed",
        details={"shards": ",".join(each.shard for each in held)},
    )


def _tenants(held: "SurplusShard") -> str:
    named = ", ".join(held.tenants[:TENANTS_NAMED_MAX])
    more = len(held.tenants) - TENANTS_NAMED_MAX
    return f"{len(held.tenants)} tenant{'' if len(held.tenants) == 1 else 's'} ({named}{', …' if more > 0 else ''})"


async def _forgotten(directory: "EtcdDirectory", shard: str) -> bool:
    """Takes a shard off the list once it does not answer any more. False: it was not on it. Raises
    ``OPERATION_STATE`` where it goes on answering."""
    from evenshard.directory.keys import service_key
    from evenshard.directory.service import ServiceRecord
    from evenshard.ports.directory import Delete, Unchanged
    from evenshard.runtime.peers import GrpcPeers
    from evenshard.wire.health import HEALTH_CHECK, health_request

    peers = GrpcPeers()
    loop = asyncio.get_running_loop()
    until_s = loop.time() + GONE_TIMEOUT_S
    try:
        while loop.time() < until_s:
            entry = await directory.get(service_key(shard))
            if entry is None:
                return False
            address = ServiceRecord.from_json(entry.value).address
            try:
                await peers.call(address, HEALTH_CHECK, health_request(), timeout_s=CHECK_TIMEOUT_S)
            except EvenshardError as gone:
                if gone.code not in ("UNREACHABLE", "DEADLINE_EXCEEDED"):
                    raise
                key = service_key(shard)
                if (await directory.swap([Unchanged(key, entry.revision)], [Delete(key)])).swapped:
                    return True
                continue  # it has written itself down again meanwhile: look again
            await asyncio.sleep(LOOK_EVERY_S)
    finally:
        await peers.close()
    raise EvenshardError(
        "OPERATION_STATE", f"{shard} still answers after {GONE_TIMEOUT_S:g} s", hint="stop it, then start this again"
    )


def _text(document: Mapping[str, Any]) -> str:
    lines = [f"{document['shards']} shards are enough: no other holds a slot"]
    lines += [f"{shard} is empty and may go" for shard in document["surplus"]]
    lines += [f"{shard} is listed no longer" for shard in document["forgotten"]]
    return "\n".join(lines)
