"""The state of the whole cluster, as one router tells it; also where there is no router to ask."""

from typing import Any, Final

from evenshard.api.v1 import admin_pb2
from evenshard.errors import EvenshardError
from evenshard.runtime.peers import GrpcPeers
from evenshard.wire.rpcs import LIST_SERVICES

STATUS_TIMEOUT_S: Final = 10.0


async def fetch_status(router: str, timeout_s: float = STATUS_TIMEOUT_S) -> dict[str, Any]:
    """The document of ``evenshard status``. A router that does not answer is the one service listed."""
    peers = GrpcPeers()
    try:
        answer = await peers.call(router, LIST_SERVICES, admin_pb2.ListServicesRequest(), timeout_s=timeout_s)
    except EvenshardError as error:
        if error.code not in ("UNREACHABLE", "DEADLINE_EXCEEDED"):
            raise
        return {"healthy": False, "directory_revision": None, "services": [_unreachable(router, error)]}
    finally:
        await peers.close()
    return {
        "healthy": answer.healthy,
        "directory_revision": answer.directory_revision,
        "services": [_service(each) for each in answer.services],
    }


def _service(state: admin_pb2.ServiceState) -> dict[str, Any]:
    return {
        "name": state.name,
        "kind": state.kind,
        "address": state.address,
        "status": state.status,
        "reason": state.reason or None,
        "pid": state.pid if state.HasField("pid") else None,
        "restarts": state.restarts,
        "rss_bytes": state.rss_bytes if state.HasField("rss_bytes") else None,
    }


def _unreachable(router: str, error: EvenshardError) -> dict[str, Any]:
    return {
        "name": "router",
        "kind": "router",
        "address": router,
        "status": "UNREACHABLE",
        "reason": error.message,
        "pid": None,
        "restarts": None,
        "rss_bytes": None,
    }
