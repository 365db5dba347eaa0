"""Puts a gateway together."""

from evenshard.api.v1 import query_pb2_grpc
from evenshard.gateway.admission import Admission, QueryLimits
from evenshard.gateway.cohorts import Cohorts, ScanCohorts
from evenshard.gateway.export import Exporter
from evenshard.gateway.known import Known
from evenshard.gateway.reunion import Reunion
from evenshard.gateway.scatter import Scatter
from evenshard.gateway.service import QueryService
from evenshard.runtime.cohorts import CohortView
from evenshard.runtime.service import Ports, Running, ServiceOptions, Servicer
from evenshard.runtime.services import ServiceView
from evenshard.runtime.tenants import TenantView
from evenshard.wire.rpcs import QUERY_SERVICE


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
    service = QueryService(
        ports.clock, scatter, Exporter(ports.peers, scatter), Admission(ports.clock, limits), cohorts
    )

    async def close() -> None:
        await view.close()
        await services.close()
        await tenants.close()

    return Running(
        [Servicer(QUERY_SERVICE, query_pb2_grpc.add_QueryServiceServicer_to_server, service)],
        close,
    )
