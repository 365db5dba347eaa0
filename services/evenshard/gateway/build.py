"""Puts a gateway together."""

from evenshard.api.v1 import debug_pb2_grpc, query_pb2_grpc
from evenshard.gateway.admission import Admission, QueryLimits
from evenshard.gateway.cohorts import Cohorts, ScanCohorts
from evenshard.gateway.export import Exporter
from evenshard.gateway.known import Known
from evenshard.gateway.measuring import observe_gateway
from evenshard.gateway.reunion import Reunion
from evenshard.gateway.scatter import Scatter
from evenshard.gateway.service import QueryService
from evenshard.gateway.slowness import Slowness
from evenshard.hotkeys.slow_queries import SlowQueries
from evenshard.runtime.cohorts import CohortView
from evenshard.runtime.debug_service import DebugService
from evenshard.runtime.service import Ports, Running, ServiceOptions, Servicer
from evenshard.runtime.services import ServiceView
from evenshard.runtime.tenants import TenantView
from evenshard.wire.rpcs import DEBUG_SERVICE, QUERY_SERVICE


async def build(ports: Ports, options: ServiceOptions) -> Running:
    """A gateway, once it knows the directory."""
    tenants, services = TenantView(ports.directory, ports.clock), ServiceView(ports.directory, ports.clock)
    await tenants.start()
    await services.start()
    settings = options.settings
    view = CohortView(ports.directory, ports.clock)
    await view.start()
    scan_cohorts = ScanCohorts(view)
    known, reunion = Known(settings.gateway_cache_bytes), Reunion(settings.split_rows_bytes)
    scatter = Scatter(ports.peers, tenants, services, known, scan_cohorts, reunion)
    cohorts = Cohorts(ports.directory, view, scan_cohorts, scatter, ports.rng)
    limits = QueryLimits(
        settings.tenant_queries_max, settings.tenant_queries_waiting_max, settings.tenant_scan_bytes_per_second
    )
    admission = Admission(ports.clock, limits)
    observe_gateway(known, admission)
    slow = SlowQueries(settings.slow_query_ms)
    slowness = Slowness(options.name, ports.clock, slow)
    service = QueryService(ports.clock, scatter, Exporter(ports.peers, scatter), admission, cohorts, slowness)

    async def close() -> None:
        await view.close()
        await services.close()
        await tenants.close()

    return Running(
        [
            Servicer(QUERY_SERVICE, query_pb2_grpc.add_QueryServiceServicer_to_server, service),
            Servicer(DEBUG_SERVICE, debug_pb2_grpc.add_DebugServiceServicer_to_server, DebugService(slow, "gateway")),
        ],
        close,
    )
