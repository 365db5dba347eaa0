"""A cluster in one object behind a real gRPC port: it stores events in a dict, and errs as it is told.

For tests of clients: naive on purpose, and sharing no code with what it stands for.
"""

from concurrent import futures
from dataclasses import dataclass
from typing import Any

import grpc

from evenshard.api.v1 import admin_pb2_grpc, ingest_pb2_grpc, query_pb2_grpc
from evenshard.testing.fake_admin import FakeAdmin
from evenshard.testing.fake_queries import FakeQueries
from evenshard.testing.fake_state import FakeState


@dataclass
class FakeCluster(FakeState):
    """A router and a gateway on one address."""

    address: str = ""
    _server: Any = None

    def __enter__(self) -> "FakeCluster":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Listens, on the address it had before where there is one."""
        self._server = grpc.server(
            futures.ThreadPoolExecutor(8),
            options=[("grpc.max_receive_message_length", 64 << 20), ("grpc.so_reuseport", 0)],
        )
        ingest_pb2_grpc.add_IngestServiceServicer_to_server(_Ingest(self), self._server)  # type: ignore[no-untyped-call]
        query_pb2_grpc.add_QueryServiceServicer_to_server(FakeQueries(self), self._server)  # type: ignore[no-untyped-call]
        admin_pb2_grpc.add_AdminServiceServicer_to_server(FakeAdmin(self), self._server)  # type: ignore[no-untyped-call]
        port = self._server.add_insecure_port(self.address or "127.0.0.1:0")
        self.address = self.address or f"127.0.0.1:{port}"
        self._server.start()

    def stop(self) -> None:
        self._server.stop(0).wait(5)


class _Ingest(ingest_pb2_grpc.IngestServiceServicer):
    def __init__(self, cluster: FakeState) -> None:
        self.cluster = cluster

    def ImportEvents(self, request: Any, context: Any) -> Any:
        return self.cluster.handle_import(request, context)
