"""Which pieces of traces are kept: all for some seconds, in which another process may turn out to need them; then those
that were slow, that failed, that were asked for, and the slowest of each kind. Decides, does no IO.

Bounded in pieces and in spans, whatever happens; what is oldest goes first. To be used by one thread at a time.
"""

import heapq
from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from opentelemetry.trace import SpanKind

from evenshard.runtime.spans import Piece
from evenshard.wire.traces import NEVER_SLOW

Reason = Literal["slow", "failed", "asked"]

BUFFER_MS: Final = 10_000
"""How long every piece is there: until whoever called has ended too, and has said what it keeps."""
_UNSEEN: Final = "evenshard.v1.DebugService/"
"""Looking at traces makes none that are looked at."""
_NS_PER_MS: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class BufferLimits:
    """What a process holds at most; a span takes some 800 bytes."""

    recent_spans: int = 10_000
    kept_spans: int = 10_000
    slowest_of_a_name: int = 16
    names: int = 256
    failed: int = 64
    asked: int = 512
    awaited: int = 4_096
    """Spans of callers whose pieces here have not ended yet."""
    hints: int = 4_096
    """Spans whose pieces elsewhere are to be kept, and nobody has said so yet."""
    slowest_ms: int = 3_600_000
    """How long the slowest stay: what is slow today is not measured by last week."""


@dataclass(slots=True, eq=False)
class _Kept:
    piece: Piece
    spans: int
    """As many as it had by then: some end later."""
    at_ms: float
    reasons: set[Reason]


@dataclass(frozen=True, slots=True)
class _Recent:
    piece: Piece
    spans: int
    at_ms: float


class TraceBuffer:
    """Of one process."""

    def __init__(self, slow_ms: float, limits: BufferLimits | None = None) -> None:
        """``slow_ms``: a root that took longer is kept."""
        self.limits = limits or BufferLimits()
        self._slow_ns = slow_ms * _NS_PER_MS
        self._number = 0
        self._recent: OrderedDict[int, _Recent] = OrderedDict()
        self._recent_spans = 0
        self._by_parent: dict[int, int] = {}
        self._by_root: dict[int, int] = {}
        self._kept: OrderedDict[int, _Kept] = OrderedDict()
        self._kept_spans = 0
        self._slowest: dict[str, list[tuple[int, int]]] = {}
        """By name of the root: durations and numbers, the shortest first."""
        self._in_turn: dict[Reason, OrderedDict[int, None]] = {"failed": OrderedDict(), "asked": OrderedDict()}
        self._awaited: OrderedDict[int, float] = OrderedDict()
        self._hints: dict[str, list[int]] = defaultdict(list)
        self._hinted = 0

    def ended(self, piece: Piece, now_ms: float) -> list[Piece]:
        """A piece's root has ended. If it was slow, failed, or was asked for, it is to be sent on, with the pieces it
        is linked to; empty: it is not."""
        root = piece.root
        if root.name.startswith(_UNSEEN):
            return []
        self._forget(now_ms)
        number = self._number = self._number + 1
        recent = self._recent[number] = _Recent(piece, len(piece.spans), now_ms)
        self._recent_spans += recent.spans
        self._by_root[root.context.span_id] = number
        parent = root.parent.span_id if root.parent is not None else 0
        if parent:
            self._by_parent[parent] = number
        while self._recent_spans > self.limits.recent_spans and len(self._recent) > 1:
            self._forget_oldest()
        asked = bool(parent) and self._awaited.pop(parent, None) is not None
        is_long = piece.duration_ns > self._slow_ns and root.name not in NEVER_SLOW
        if asked:
            self._keep(number, piece, "asked", now_ms)
        if piece.failed:
            self._keep(number, piece, "failed", now_ms)
        if self._is_slowest(root.name, piece.duration_ns, number, now_ms):
            self._keep(number, piece, "slow", now_ms)
        return self._sent_on([piece]) if asked or piece.failed or is_long else []

    def keep(self, parents: Iterable[int], now_ms: float) -> list[Piece]:
        """Whoever called has kept the spans ``parents``: so are the pieces below them here, also those that have not
        ended yet. Those that were not to be sent on until now, with what they are linked to."""
        self._forget(now_ms)
        asked: list[Piece] = []
        for parent in parents:
            number = self._by_parent.get(parent)
            if number is None:
                self._awaited[parent] = now_ms
                if len(self._awaited) > self.limits.awaited:
                    self._awaited.popitem(last=False)
                continue
            piece = self._recent[number].piece
            self._keep(number, piece, "asked", now_ms)
            asked.append(piece)
        return self._sent_on(asked)

    def take_hints(self) -> dict[str, list[int]]:
        """By address, the spans of calls that went there from pieces that are kept: those are to be kept there too."""
        taken, self._hints = self._hints, defaultdict(list)
        self._hinted = 0
        return dict(taken)

    def slowest(self, count: int, now_ms: float, *, calls_only: bool) -> list[Piece]:
        """The slowest of the last hour, the slowest first; ``calls_only``: only what somebody waited for."""
        self._forget(now_ms)
        found = [
            (-duration_ns, number)
            for name, heap in self._slowest.items()
            if not (calls_only and name in NEVER_SLOW)
            for duration_ns, number in heap
            if number in self._kept
        ]
        pieces = (self._kept[number].piece for _, number in sorted(found))
        return [piece for piece in pieces if not calls_only or piece.root.kind is SpanKind.SERVER][:count]

    def failed(self, count: int, now_ms: float) -> list[Piece]:
        """The newest that failed, the newest first."""
        self._forget(now_ms)
        numbers = reversed(self._in_turn["failed"])
        return [self._kept[number].piece for number in numbers if number in self._kept][:count]

    def of(self, trace_ids: Iterable[int], spans_max: int, now_ms: float) -> list[Piece]:
        """All that is there of these traces: what is kept first, then what is recent; about so many spans at most."""
        self._forget(now_ms)
        wanted, found, spans = set(trace_ids), dict[int, Piece](), 0
        kept: Sequence[tuple[int, Piece]] = [(number, each.piece) for number, each in self._kept.items()]
        recent = [(number, each.piece) for number, each in reversed(self._recent.items())]
        for number, piece in (*kept, *recent):
            if piece.root.context.trace_id in wanted and number not in found and spans < spans_max:
                found[number] = piece
                spans += len(piece.spans)
        return list(found.values())

    @property
    def spans(self) -> int:
        """That are held; one that is recent and kept counts twice."""
        return self._recent_spans + self._kept_spans

    def _is_slowest(self, name: str, duration_ns: int, number: int, now_ms: float) -> bool:
        """Whether it is among the slowest of its name, among which it stands from now on."""
        heap = self._slowest.get(name)
        if heap is None:
            if len(self._slowest) >= self.limits.names:
                return False
            heap = self._slowest[name] = []
        while heap and heap[0][1] not in self._kept:
            heapq.heappop(heap)
        if len(heap) >= self.limits.slowest_of_a_name:
            if duration_ns <= heap[0][0]:
                return False
            self._let_go(heapq.heappop(heap)[1], "slow")
        heapq.heappush(heap, (duration_ns, number))
        return True

    def _keep(self, number: int, piece: Piece, reason: Reason, now_ms: float) -> None:
        kept = self._kept.get(number)
        if kept is not None:
            kept.reasons.add(reason)
        else:
            self._kept[number] = _Kept(piece, len(piece.spans), now_ms, {reason})
            self._kept_spans += len(piece.spans)
            self._hint(piece)
            self._keep_linked(piece, now_ms)
        if reason in self._in_turn:
            turn = self._in_turn[reason]
            turn[number] = None
            if len(turn) > (self.limits.failed if reason == "failed" else self.limits.asked):
                self._let_go(turn.popitem(last=False)[0], reason)
        while self._kept_spans > self.limits.kept_spans and len(self._kept) > 1:
            self._drop(next(iter(self._kept)))

    def _hint(self, piece: Piece) -> None:
        for span in piece.spans:
            address = span.attributes.get("server.address") if span.kind is SpanKind.CLIENT else None
            if address and self._hinted < self.limits.hints:
                self._hints[f"{address}:{span.attributes.get('server.port')}"].append(span.context.span_id)
                self._hinted += 1

    def _keep_linked(self, piece: Piece, now_ms: float) -> None:
        """What a kept piece is linked to in this process: the sync that made its rows durable."""
        for number in self._linked(piece):
            if number not in self._kept:
                self._keep(number, self._recent[number].piece, "asked", now_ms)

    def _linked(self, piece: Piece) -> list[int]:
        found = (self._by_root.get(link.context.span_id) for span in piece.spans for link in span.links)
        return [number for number in dict.fromkeys(found) if number is not None]

    def _sent_on(self, pieces: Iterable[Piece]) -> list[Piece]:
        """Those that were not before, and what they are linked to."""
        found = []
        for piece in pieces:
            for each in (piece, *(self._recent[number].piece for number in self._linked(piece))):
                if not each.kept:
                    each.kept = True
                    found.append(each)
        return found

    def _let_go(self, number: int, reason: Reason) -> None:
        kept = self._kept.get(number)
        if kept is not None:
            kept.reasons.discard(reason)
            if not kept.reasons:
                self._drop(number)

    def _drop(self, number: int) -> None:
        kept = self._kept.pop(number)
        self._kept_spans -= kept.spans
        for turn in self._in_turn.values():
            turn.pop(number, None)

    def _forget(self, now_ms: float) -> None:
        """What is too old."""
        while self._recent and next(iter(self._recent.values())).at_ms < now_ms - BUFFER_MS:
            self._forget_oldest()
        while self._awaited and next(iter(self._awaited.values())) < now_ms - BUFFER_MS:
            self._awaited.popitem(last=False)
        while self._kept and next(iter(self._kept.values())).at_ms < now_ms - self.limits.slowest_ms:
            self._drop(next(iter(self._kept)))
        if len(self._slowest) and self._number % 1_024 == 0:
            self._tidy()

    def _tidy(self) -> None:
        """Durations of what is gone would keep out what is slow now."""
        for name, heap in list(self._slowest.items()):
            left = [each for each in heap if each[1] in self._kept]
            if left:
                heapq.heapify(left)
                self._slowest[name] = left
            else:
                del self._slowest[name]

    def _forget_oldest(self) -> None:
        number, recent = self._recent.popitem(last=False)
        self._recent_spans -= recent.spans
        root = recent.piece.root
        self._by_root.pop(root.context.span_id, None)
        if root.parent is not None and self._by_parent.get(root.parent.span_id) == number:
            del self._by_parent[root.parent.span_id]
