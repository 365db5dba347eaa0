"""Asks all shards of a tenant at once, at one placement epoch, and says which of them did not answer."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import pyarrow as pa

from evenshard.directory.tenant import Tenant, tenant_id
from evenshard.errors import EvenshardError
from evenshard.gateway.known import Asked, Known, Partial, Planned, Told
from evenshard.gateway.reunion import Reunion
from evenshard.ids import Epoch, ShardId
from evenshard.ports.clock import Clock
from evenshard.ports.peers import Peers
from evenshard.queries.partials import read_partial
from evenshard.queries.plan import ScanStats, add_stats
from evenshard.queries.reunion import untold
from evenshard.queries.scan_plans import as_it_came
from evenshard.runtime.services import ServiceView
from evenshard.runtime.tenants import TenantView
from evenshard.wire.query import scan_request, scan_stats_of
from evenshard.wire.rpcs import SCAN

SHARE_OF_DEADLINE = 0.85
"""Shards are given less time than the caller waits, so that an answer can still name those that were silent."""
FENCED_RETRY_MS = 20.0
"""How long the next placement is waited for before slots that are fenced are asked about again."""
REPLANS_MAX = 3
"""Times a query is planned anew because the placement changed under it."""
SPLIT_ROUNDS_MAX = 4
"""Rounds of one scan: the first, the one that tells homes whom others have rows of, and further ones only where users
were split since."""

_Answered = TypeVar("_Answered")
_Plan = TypeVar("_Plan")
_NO_ANSWER = frozenset(("UNREACHABLE", "DEADLINE_EXCEEDED", "SHARD_UNAVAILABLE", "OVERLOADED"))


class ScansWithCohorts(Protocol):
    """Puts the cohorts that a scan names into it."""

    async def complete(self, tenant: Tenant, scan: bytes) -> bytes:
        """Raises ``QUERY_INVALID`` for unknown ones."""
        ...


@dataclass(frozen=True, slots=True)
class Deadline:
    """A point on a clock."""

    clock: Clock
    at_ms: float

    @staticmethod
    def in_s(clock: Clock, seconds: float) -> "Deadline":
        return Deadline(clock, clock.monotonic_ms() + seconds * 1000)

    def remaining_s(self) -> float:
        """Raises ``DEADLINE_EXCEEDED`` when it has passed."""
        left_s = (self.at_ms - self.clock.monotonic_ms()) / 1000
        if left_s <= 0:
            raise EvenshardError("DEADLINE_EXCEEDED", "the query took longer than its caller waits")
        return left_s


@dataclass(slots=True)
class Spent:
    """What shards have read for a query, in all its rounds."""

    rows: int = 0
    bytes: int = 0

    def add(self, stats: ScanStats) -> None:
        self.rows += stats.rows_scanned
        self.bytes += stats.bytes_scanned


@dataclass(frozen=True, slots=True)
class Terms:
    """How a query is answered, whatever it asks."""

    deadline: Deadline
    allow_partial: bool = False
    """Without the shards that cannot, rather than not at all."""
    use_cache: bool = True
    """What is known from a query before need not be computed again."""
    spent: Spent = field(default_factory=Spent)
    """Rises as shards answer."""
    restore_hot: bool = False
    """As if no hot event had been rewritten."""


@dataclass(frozen=True, slots=True)
class Scattered:
    """What the shards answered; each partial is of one reading of its shard."""

    partials: Sequence[pa.Table]
    answered: Sequence[ShardId]
    missing: Sequence[ShardId]
    stats: ScanStats
    """Of the partials, whenever they were made; what was read for this answer is what was ``Spent``."""
    data_version: str
    """``shard-0:…,shard-1:…`` of those that answered."""
    tags: tuple[str, ...]
    """Stand for ``partials``; none where a shard is missing, gave none, or nothing known was to be used."""
    from_cache: bool
    """Every partial was known already."""

    def partial_bytes(self) -> int:
        """Memory."""
        return sum(partial.nbytes for partial in self.partials)


@dataclass(frozen=True, slots=True)
class _Answer:
    shard: ShardId
    partial: Partial
    known: bool
    """From before: the shard said that it is still true."""


class Scatter:
    """The way from the gateway to a tenant's shards."""

    def __init__(
        self,
        peers: Peers,
        tenants: TenantView,
        services: ServiceView,
        known: Known,
        cohorts: ScansWithCohorts,
        reunion: Reunion,
    ) -> None:
        self._peers = peers
        self._known = known
        self._tenants = tenants
        self._services = services
        self._cohorts = cohorts
        self._reunion = reunion

    @property
    def directory_revision(self) -> int:
        """What is known of tenants is of this revision of the directory."""
        return self._tenants.revision

    async def tenant(self, name: str, deadline: Deadline, *, refresh: bool = False) -> Tenant:
        """The tenant's record; with ``refresh``, or where it is not known here, the directory is asked.

        Raises ``TENANT_NAME_INVALID`` and ``TENANT_NOT_FOUND``.
        """
        tenant_id(name)
        known = None if refresh else self._tenants.get(name)
        tenant = known or await self._tenants.fetch(name, timeout_s=deadline.remaining_s())
        if tenant is None:
            raise EvenshardError("TENANT_NOT_FOUND", f"there is no tenant {name!r}")
        return tenant

    async def at_one_epoch(
        self, name: str, deadline: Deadline, attempt: Callable[[Tenant], Awaitable[_Answered]]
    ) -> _Answered:
        """What ``attempt`` gives, made anew, at most ``REPLANS_MAX`` times, where the placement changes meanwhile; and
        held for as long as the caller waits where slots go from shard to shard just now."""
        tenant = await self.tenant(name, deadline)
        replans_left = REPLANS_MAX
        while True:
            try:
                return await attempt(tenant)
            except EvenshardError as error:
                if error.code not in ("STALE_EPOCH", "SLOTS_FENCED") or (
                    error.code == "STALE_EPOCH" and not replans_left
                ):
                    raise
                fenced = error.code == "SLOTS_FENCED"
            replans_left -= not fenced
            next_tenant = self._after_fence(tenant, deadline) if fenced else self.tenant(name, deadline, refresh=True)
            tenant = await next_tenant

    async def _after_fence(self, tenant: Tenant, deadline: Deadline) -> Tenant:
        """The tenant with its next placement, as soon as that is seen here; as it is where that does not come soon."""
        wait_s = min(FENCED_RETRY_MS / 1000, deadline.remaining_s())
        later = Epoch(tenant.placement.epoch + 1)
        return await self._tenants.wait_epoch(tenant.name, later, wait_s) or await self.tenant(tenant.name, deadline)

    async def address(self, shard: ShardId, deadline: Deadline) -> str:
        """Where a shard serves. Raises ``SHARD_UNAVAILABLE`` where nobody knows."""
        record = self._services.get(shard) or await self._services.fetch(shard, timeout_s=deadline.remaining_s())
        if record is None:
            raise EvenshardError("SHARD_UNAVAILABLE", f"{shard} has never served")
        return record.address

    async def scan(self, tenant: Tenant, scan: bytes, terms: Terms, only: Sequence[ShardId] | None = None) -> Scattered:
        """One ``Scan`` of every shard of the tenant, or of these ``only``; of split users, whom shards give back, one
        partial more. A shard whose rows have not changed since it last answered the same says only that, if something
        known may be used.

        Raises ``SHARD_UNAVAILABLE`` naming a shard that did not answer (not with ``allow_partial``), ``STALE_EPOCH``
        where the placement has changed, ``REPLAN`` where users kept being split meanwhile, and whatever else a shard
        says is wrong with the scan.
        """
        given, scan = scan, await self._cohorts.complete(tenant, scan)
        if terms.restore_hot:
            scan = as_it_came(scan)
        told: Told = dict.fromkeys(sorted(tenant.placement.shards if only is None else only), ())
        question = (tenant.name, tenant.placement.epoch, scan, *told)
        told = (self._known.told(question) if terms.use_cache else None) or told
        asked, answers, missing = told, list[_Answer](), list[ShardId]()
        for _ in range(SPLIT_ROUNDS_MAX):
            found, silent = await self._ask_all(tenant, scan, terms, asked)
            answers = sorted((*(one for one in answers if one.shard not in asked), *found), key=_shard_of)
            missing += silent
            met = [user for answer in answers for user in answer.partial.split_users]
            asked = untold(tenant.placement, met, told) if met else {}
            asked = {shard: users for shard, users in asked.items() if shard not in missing}
            if not asked:
                break
            told = told | asked
            self._known.note_told(question, told)
        else:
            raise EvenshardError(
                "REPLAN",
                f"asked {SPLIT_ROUNDS_MAX} times, and each time more users had rows that are not at their home",
            )
        tags = tuple(answer.partial.tag for answer in answers)
        if scan != given and all(tags):  # whom cohorts mean, and how hot events are shown, is not said by the question
            tags = (*tags, scan.decode())
        tags = tags if terms.use_cache and all(tags) and not missing else ()
        tables, stats = [answer.partial.table for answer in answers], [answer.partial.stats for answer in answers]
        split = [answer.partial for answer in answers if answer.partial.split_rows]
        if split:
            of_split = await self._reunited(tenant, scan, split, tags, terms.deadline)
            tables, stats = [*tables, of_split[0]], [*stats, of_split[1]]
        return Scattered(
            tables,
            [answer.shard for answer in answers],
            missing,
            add_stats(stats),
            ",".join(f"{answer.shard}:{answer.partial.data_version}" for answer in answers),
            tags,
            bool(answers) and all(answer.known for answer in answers),
        )

    async def _ask_all(
        self, tenant: Tenant, scan: bytes, terms: Terms, told: Told
    ) -> tuple[list[_Answer], list[ShardId]]:
        """What the shards say that are told so, and those that are missing, which is allowed."""
        results = await asyncio.gather(
            *(self._scan_one(tenant, shard, scan, terms, users) for shard, users in told.items()),
            return_exceptions=True,
        )
        answers, missing = [], []
        for shard, result in zip(told, results, strict=True):
            if isinstance(result, _Answer):
                answers.append(result)
            elif isinstance(result, EvenshardError) and terms.allow_partial and _may_be_missing(result):
                missing.append(shard)
        if len(answers) + len(missing) < len(told):
            raise _most_telling([result for result in results if isinstance(result, BaseException)])
        return answers, missing

    async def _reunited(
        self, tenant: Tenant, scan: bytes, split: Sequence[Partial], tags: tuple[str, ...], deadline: Deadline
    ) -> tuple[pa.Table, ScanStats]:
        """The partial of split users, or the one that was made of the same rows before."""
        size = sum(partial.split_bytes for partial in split)
        users = sorted({user for partial in split for user in partial.split_users})
        rows = [partial.split_rows for partial in split]
        return await self._known.remember(
            (tenant.name, tenant.placement.epoch, scan, "split"),
            tags,
            lambda: size,
            lambda: self._reunion.of(scan, rows, size, users, deadline),
        )

    async def planned(self, question: Hashable, plan: Callable[[], Planned[_Plan]]) -> Planned[_Plan]:
        """What ``plan`` gives, in a thread, or gave for the same ``question``, which alone decides it, before."""
        return await self._known.planned(question, plan)

    async def finish(self, question: Hashable, scattered: Scattered, compute: Callable[[], _Answered]) -> _Answered:
        """What ``compute`` makes of ``scattered``, in a thread, or has made of the same partials before; ``question``:
        all else that it depends on."""
        return await self._known.finish(question, scattered.tags, scattered.partial_bytes, compute)

    async def _scan_one(
        self, tenant: Tenant, shard: ShardId, scan: bytes, terms: Terms, told: tuple[str, ...]
    ) -> _Answer:
        asked = Asked(tenant.name, tenant.placement.epoch, shard, scan, told)
        known = self._known.partial(asked) if terms.use_cache else None
        try:
            address = await self.address(shard, terms.deadline)
            request = scan_request(
                tenant.name, tenant.placement.epoch, scan, known.tag if known else "", told, self._reunion.bytes_max
            )
            response = await self._peers.call(address, SCAN, request, timeout_s=terms.deadline.remaining_s())
        except EvenshardError as error:
            raise named(shard, error) from error
        if response.unchanged and known is not None:
            return _Answer(shard, known, known=True)
        table = await asyncio.to_thread(read_partial, response.partial)
        stats = scan_stats_of(response.stats)
        terms.spent.add(stats)
        partial = Partial(
            table,
            stats,
            response.stats.data_version,
            response.tag,
            tuple(response.split_rows),
            tuple(response.split_users),
            response.split_bytes,
        )
        if terms.use_cache:
            self._known.note(asked, partial)
        return _Answer(shard, partial, known=False)


def _shard_of(answer: _Answer) -> ShardId:
    return answer.shard


def named(shard: ShardId, error: EvenshardError) -> EvenshardError:
    """The error of one shard as the caller sees it: a silent one is ``SHARD_UNAVAILABLE``, by name."""
    if error.code not in _NO_ANSWER:
        return error
    return EvenshardError(
        "SHARD_UNAVAILABLE", f"{shard} did not answer: {error.code} {error.message}", details={"shard": shard}
    )


def _may_be_missing(error: EvenshardError) -> bool:
    return error.code in ("SHARD_UNAVAILABLE", "DATA_DAMAGED")


def _most_telling(errors: Sequence[BaseException]) -> BaseException:
    """Of several errors the one to act on: a defect, then a stale plan, then what is wrong with the query."""

    def weight(error: BaseException) -> int:
        if not isinstance(error, EvenshardError):
            return 0
        return {"STALE_EPOCH": 1, "SLOTS_FENCED": 1, "SHARD_UNAVAILABLE": 3}.get(error.code, 2)

    return min((error for error in errors), key=weight)
