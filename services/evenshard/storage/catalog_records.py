"""A catalog's records as they are in memory: what was read when it was opened, and every change since. Pure.

Mappings that others may be reading meanwhile are made anew by each change.
"""

from collections.abc import Iterable, Mapping

from evenshard.ids import TenantId
from evenshard.storage import deletions, hot_keys, quarantine
from evenshard.storage.catalog_keys import TenantState, parse_foreign, parse_state, user_day
from evenshard.storage.deletions import Deletion
from evenshard.storage.hot_keys import HeldKey, UserDay
from evenshard.storage.layers import Layer, Prepared, layer_from_json, prepared_from_json
from evenshard.storage.moving import record as move_record
from evenshard.storage.moving.record import MoveRecord
from evenshard.storage.ownership import Foreign
from evenshard.storage.quarantine import Quarantined
from evenshard.storage.segment.info import SegmentInfo, from_json


class CatalogRecords:
    """Empty at first."""

    def __init__(self) -> None:
        self.states: dict[TenantId, TenantState] = {}
        self.segments: dict[TenantId, tuple[SegmentInfo, ...]] = {}
        self.deletions: dict[TenantId, dict[int, Deletion]] = {}
        self.held: dict[TenantId, dict[UserDay, HeldKey]] = {}
        self.originals: dict[TenantId, dict[int, SegmentInfo]] = {}
        self.quarantined: dict[str, Quarantined] = {}
        self.layers: dict[TenantId, dict[str, Layer]] = {}
        self.prepared: dict[TenantId, dict[str, Prepared]] = {}
        self.moves: dict[TenantId, dict[str, MoveRecord]] = {}
        self.foreign: dict[TenantId, Foreign] = {}

    def load(self, values: Mapping[str, bytes]) -> None:
        """All there are."""
        infos: list[SegmentInfo] = []
        originals: list[SegmentInfo] = []
        held: dict[TenantId, dict[UserDay, HeldKey]] = {}
        for key, value in values.items():
            kind, _, name = key.partition("/")
            if kind == "segment":
                infos.append(from_json(value))
            elif kind == "tenant":
                self.states[TenantId(name)] = parse_state(value)
            elif kind == "deletion":
                self._adopt_deletion(name, value)
            elif kind == "hotkey":
                tenant, key_of_user = user_day(name)
                held.setdefault(tenant, {})[key_of_user] = hot_keys.from_json(value)
            elif kind == "original":
                originals.append(from_json(value))
            elif kind == "quarantine":
                self.quarantined[key] = quarantine.from_json(value)
            elif kind in ("layer", "prepared"):
                self._adopt_layer(kind, name, value)
            elif kind in ("move", "foreign"):
                self._adopt_move(kind, name, value)
        self.held = held
        for info in sorted(originals, key=lambda info: info.id):
            self.originals.setdefault(info.tenant, {})[info.id] = info
        self.segments = _by_tenant(infos)
        self.deletions = {tenant: dict(sorted(records.items())) for tenant, records in self.deletions.items()}

    def apply(self, written: Mapping[str, bytes | None]) -> None:
        """A transaction is durable: what it wrote, None for what it removed."""
        infos = {info.id: info for group in self.segments.values() for info in group}
        touched = False
        for key, value in written.items():
            kind, _, name = key.partition("/")
            if kind == "segment":
                touched = True
                if value is None:
                    del infos[int(name)]
                else:
                    infos[int(name)] = from_json(value)
            elif kind == "tenant" and value is not None:
                self.states[TenantId(name)] = parse_state(value)
            elif kind == "deletion":
                self._adopt_deletion(name, value)
            elif kind == "hotkey":
                self._adopt_held(name, value)
            elif kind == "original":
                self._adopt_original(name, value)
            elif kind == "quarantine" and value is not None:
                self.quarantined[key] = quarantine.from_json(value)
            elif kind in ("layer", "prepared"):
                self._adopt_layer(kind, name, value)
            elif kind in ("move", "foreign"):
                self._adopt_move(kind, name, value)
        if touched:
            self.segments = _by_tenant(infos.values())

    def _adopt_deletion(self, name: str, value: bytes | None) -> None:
        """Makes new mappings: others may be reading those there are."""
        tenant, _, seq = name.partition("/")
        records = dict(self.deletions.get(TenantId(tenant), {}))
        if value is None:
            del records[int(seq)]
        else:
            records[int(seq)] = deletions.from_json(value)
        self.deletions = {**self.deletions, TenantId(tenant): records}

    def _adopt_layer(self, kind: str, key: str, value: bytes | None) -> None:
        """Makes new mappings: others may be reading those there are."""
        name, _, own = key.partition("/")
        tenant = TenantId(name)
        layers, prepared = dict(self.layers.get(tenant, {})), dict(self.prepared.get(tenant, {}))
        (layers if kind == "layer" else prepared).pop(own, None)
        if value is not None and kind == "layer":
            layers[own] = layer_from_json(value)
        elif value is not None:
            prepared[own] = prepared_from_json(value)
        self.layers = {**self.layers, tenant: layers}
        self.prepared = {**self.prepared, tenant: prepared}

    def _adopt_move(self, kind: str, key: str, value: bytes | None) -> None:
        """Makes new mappings: others may be reading those there are."""
        name, _, own = key.partition("/")
        tenant = TenantId(name)
        if kind == "foreign":
            assert value is not None
            self.foreign = {**self.foreign, tenant: parse_foreign(value)}
            return
        moves = dict(self.moves.get(tenant, {}))
        moves.pop(own, None)
        if value is not None:
            moves[own] = move_record.from_json(value)
        self.moves = {**self.moves, tenant: moves}

    def _adopt_held(self, name: str, value: bytes | None) -> None:
        """Makes new mappings: others may be reading those there are."""
        tenant, key = user_day(name)
        held = dict(self.held.get(tenant, {}))
        if value is None:
            del held[key]
        else:
            held[key] = hot_keys.from_json(value)
        self.held = {**self.held, tenant: held}

    def _adopt_original(self, name: str, value: bytes | None) -> None:
        segment_id = int(name)
        if value is not None:
            info = from_json(value)
            of_tenant = {**self.originals.get(info.tenant, {}), segment_id: info}  # ids only rise
            self.originals = {**self.originals, info.tenant: of_tenant}
            return
        self.originals = {
            tenant: {number: info for number, info in infos.items() if number != segment_id}
            for tenant, infos in self.originals.items()
        }


def _by_tenant(infos: Iterable[SegmentInfo]) -> dict[TenantId, tuple[SegmentInfo, ...]]:
    groups: dict[TenantId, list[SegmentInfo]] = {}
    for info in sorted(infos, key=lambda info: (info.first_day, info.run, info.id)):
        groups.setdefault(info.tenant, []).append(info)
    return {tenant: tuple(group) for tenant, group in sorted(groups.items())}
