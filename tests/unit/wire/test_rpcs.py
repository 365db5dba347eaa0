"""The list of remote procedures is that of the protos."""

from evenshard.api.v1 import admin_pb2, counter_pb2, debug_pb2, ingest_pb2, query_pb2, shard_pb2
from evenshard.ports.peers import Rpc
from evenshard.wire import rpcs


def test_rpc_list_equals_the_protos() -> None:
    listed = {
        rpc.path: (rpc.request.DESCRIPTOR.full_name, rpc.response.DESCRIPTOR.full_name)
        for rpc in vars(rpcs).values()
        if isinstance(rpc, Rpc)
    }
    declared = {
        f"/{service.full_name}/{method.name}": (method.input_type.full_name, method.output_type.full_name)
        for module in (admin_pb2, counter_pb2, debug_pb2, ingest_pb2, query_pb2, shard_pb2)
        for service in module.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    }
    assert listed == declared
