"""gRPC's standard health check, which every service of ours answers, and etcd too."""

from grpc_health.v1 import health_pb2

from evenshard.ports.peers import Rpc

HEALTH_SERVICE = "grpc.health.v1.Health"
HEALTH_CHECK = Rpc(f"/{HEALTH_SERVICE}/Check", health_pb2.HealthCheckRequest, health_pb2.HealthCheckResponse)


def health_request() -> health_pb2.HealthCheckRequest:
    """Asks for the process as a whole."""
    return health_pb2.HealthCheckRequest(service="")


def is_serving(answer: health_pb2.HealthCheckResponse) -> bool:
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def status_name(answer: health_pb2.HealthCheckResponse) -> str:
    """``SERVING``, ``NOT_SERVING`` …"""
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))
