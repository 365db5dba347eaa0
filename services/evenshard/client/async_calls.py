"""How the client calls: one router, one gateway, a tenant and a time limit that hold unless a call says another."""

import contextlib
from typing import Any

from evenshard.api.v1 import admin_pb2
from evenshard.client.retries import Retries
from evenshard.client.sampling import Sampling
from evenshard.client.tracing import ending, start_client_span
from evenshard.client.transport import Transport
from evenshard.errors import EvenshardError
from evenshard.hotkeys.key_latencies import SAMPLE_EVERY, SlowKey
from evenshard.ports.peers import Request, Response, Rpc
from evenshard.ports.rng import Rng


class AsyncCalls:
    """What all calls share; belongs to one event loop."""

    def __init__(
        self,
        router: Transport,
        gateway: Transport,
        tenant: str | None,
        timeout: float,
        rng: Rng,
        sample_every: int = SAMPLE_EVERY,
    ) -> None:
        self.timeout = timeout
        self._router = router
        self._gateway = gateway
        self._tenant = tenant
        self._rng = rng
        self._sampling = Sampling(sample_every)

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
        with ending(span), self._sampled(transport, request):
            try:
                return await retries.attempt(
                    transport, lambda timeout_s: transport.call(rpc, request, timeout_s=timeout_s, span=span)
                )
            except EvenshardError as error:
                error.in_doubt &= may_be_in_doubt  # others leave nothing open
                raise

    async def detect(self) -> list[SlowKey]:
        """Keys whose calls are slow: a p99 above 10 × the median of all keys' p99, of at least 20 samples each and
        three keys. One call in ``sample_every`` is sampled; nothing is asked."""
        return self._sampling.latencies.detect()

    def _sampled(self, transport: Transport, request: Any) -> contextlib.AbstractContextManager[None]:
        """Questions are; administration is about nobody's events."""
        if transport is not self._gateway:
            return contextlib.nullcontext()
        return self._sampling.call(getattr(request, "tenant", ""), getattr(request, "user", ""))

    def _change(self) -> admin_pb2.ChangeOptions:
        return admin_pb2.ChangeOptions(request_id=self._rng.token_hex(16))

    def _tenant_of(self, tenant: str | None) -> str:
        chosen = tenant or self._tenant
        if not chosen:
            raise EvenshardError("USAGE", "no tenant is named", hint="name one: tenant=…, or connect(tenant=…)")
        return chosen
