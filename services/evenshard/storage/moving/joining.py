"""Makes copied segments ordinary ones, which compactions merge: only what the catalog says of them changes. Pure.

Their ranges may overlap those that were here. Ranges that do become one range of all their days, of which each run that
there was is a run; the next compactions tidy it as any range with late rows.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from evenshard.storage.layers import COPIED, Layer
from evenshard.storage.segment.info import SegmentInfo

_Run = tuple[int, int, int, str]
"""The days of its range, its number there, its layer."""


def ready_to_join(layers: Mapping[str, Layer], mark: int, *, has_tail: bool) -> list[str]:
    """Copied layers of which no row that would have to be derived anew was stored before they came."""
    copied = [layer for layer in layers.values() if layer.name.startswith(COPIED)]
    return [layer.name for layer in copied if not has_tail or layer.counts[-1][0] <= mark]


def joined(segments: Sequence[SegmentInfo], ready: Collection[str]) -> list[SegmentInfo]:
    """Those of a tenant's segments that change when some layers become like any other rows."""
    runs: dict[_Run, list[SegmentInfo]] = {}
    for info in segments:
        if not info.layer or info.layer in ready:
            runs.setdefault((info.first_day, info.last_day, info.run, info.layer), []).append(info)
    changed: list[SegmentInfo] = []
    for touching in _touching(sorted(runs)):
        if any(layer for _, _, _, layer in touching):
            first, last = min(run[0] for run in touching), max(run[1] for run in touching)
            by_size = sorted(touching, key=lambda run: (-sum(info.rows for info in runs[run]), run))
            for number, run in enumerate(by_size):
                changed += [replace(info, first_day=first, last_day=last, run=number, layer="") for info in runs[run]]
    return changed


def _touching(runs: Sequence[_Run]) -> list[list[_Run]]:
    """Runs by their ranges, those of ranges that overlap together."""
    groups: list[list[_Run]] = []
    end = None
    for run in runs:
        if end is not None and run[0] <= end:
            groups[-1].append(run)
            end = max(end, run[1])
        else:
            groups.append([run])
            end = run[1]
    return groups
