"""How the client calls: one router, one gateway, a tenant and a time limit that hold unless a call says another."""

from evenshard.api.v1 import admin_pb2
from evenshard.client.retries import Retries
from evenshard.client.tracing import ending, start_client_span
from evenshard.client.transport import Transport
from evenshard.errors import EvenshardError
from evenshard.ports.peers import Request, Response, Rpc
from evenshard.ports.rng import Rng


class AsyncCalls:
    """What all calls share; belongs to one event loop."""

    def __init__(self, router: Transport, gateway: Transport, tenant: str | None, timeout: float, rng: Rng) -> None:
        self.timeout = timeout
        self._router = router
        self._gateway = gateway
        self._tenant = tenant
        self._rng = rng

    async def _call(
        self,
        transport: Transport,
        rpc: Rpc[Request, Response],
        request: Request,
        timeout: float | None = None,
        *,
        may_be_in_doubt: bool = False,
    ) -> Response:
        """Reads, and changes that carry a request_id: safe to send again."""
        name = "client.query" if transport is self._gateway else "client.admin"
        span = start_client_span(name, getattr(request, "tenant", ""))
        retries = Retries(self.timeout if timeout is None else timeout, self._rng)
        with ending(span):
            try:
                return await retries.attempt(
                    transport, lambda timeout_s: transport.call(rpc, request, timeout_s=timeout_s, span=span)
                )
            except EvenshardError as error:
                error.in_doubt &= may_be_in_doubt  # others leave nothing open
                raise

    def _change(self) -> admin_pb2.ChangeOptions:
        return admin_pb2.ChangeOptions(request_id=self._rng.token_hex(16))

    def _tenant_of(self, tenant: str | None) -> str:
        chosen = tenant or self._tenant
        if not chosen:
            raise EvenshardError("USAGE", "no tenant is named", hint="name one: tenant=…, or connect(tenant=…)")
        return chosen
