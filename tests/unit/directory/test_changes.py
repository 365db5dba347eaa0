"""What becomes of a tenant when somebody creates or changes it; tenants on the wire and in the directory."""

import json
from dataclasses import replace
from typing import cast

import pytest
from evenshard.directory.changes import DoneRequest, SettingsPatch, check_revision, new_tenant, updated_tenant
from evenshard.directory.keys import MARKS, mark_key, marked_key
from evenshard.directory.placement import Placement, SlotRange, even_placement
from evenshard.directory.required_labels import missing, required_of
from evenshard.directory.tenant import HotKeyMode, Tenant, TenantSettings, tenant_id
from evenshard.errors import EvenshardError
from evenshard.events.hashing import SLOT_COUNT
from evenshard.ids import Epoch, Revision, ShardId
from evenshard.wire.tenant import patch_from_proto, patch_to_proto, tenant_from_proto, tenant_to_proto
from hypothesis import given
from hypothesis import strategies as st

NAME = tenant_id("acme")
SHARDS = [ShardId("shard-0"), ShardId("shard-1"), ShardId("shard-2")]

patches = st.builds(
    SettingsPatch,
    st.none() | st.sampled_from(["UTC", "Europe/Berlin", "Asia/Kolkata"]),
    st.none() | st.booleans(),
    st.none() | st.booleans(),
    st.none() | st.integers(1, 1 << 40),
    st.none() | st.sampled_from(["rewrite", "observe"]),
    st.none() | st.integers(0, 36_525),
    st.none() | st.integers(0, 1 << 40),
    st.none() | st.integers(0, 1 << 40),
    st.none() | st.lists(st.sampled_from(["ann@example.org", "bo@example.org"]), max_size=2).map(tuple),
    st.none() | st.sampled_from(["", "file:/reports", "webhook:https://example.org/"]),
    st.none() | st.lists(st.sampled_from(["zone=a", "zone=b", "tier=ssd"]), max_size=3).map(tuple),
)


@st.composite
def slot_maps(draw: st.DrawFn) -> tuple[SlotRange, ...]:
    cuts = sorted(draw(st.sets(st.integers(1, SLOT_COUNT - 1), max_size=8)))
    return tuple(
        SlotRange(first, last - 1, draw(st.sampled_from(SHARDS)))
        for first, last in zip([0, *cuts], [*cuts, SLOT_COUNT], strict=True)
    )


@st.composite
def tenants(draw: st.DrawFn) -> Tenant:
    name = draw(st.from_regex(r"\A[a-z0-9][a-z0-9_-]{0,62}\Z"))
    settings = draw(patches).over(TenantSettings())
    placement = Placement(Epoch(draw(st.integers(1, 1 << 40))), draw(slot_maps()), draw(st.just(()) | slot_maps()))
    return Tenant(tenant_id(name), settings, placement, draw(st.text("0123456789abcdef", max_size=16)))


def test_new_tenant_has_the_defaults_and_its_slots_spread_evenly() -> None:
    assert new_tenant(None, NAME, SettingsPatch(strict=True), SHARDS, "n") == Tenant(
        NAME,
        TenantSettings("UTC", dedupe=True, strict=True),
        Placement(
            Epoch(1),
            (SlotRange(0, 1364, SHARDS[0]), SlotRange(1365, 2729, SHARDS[1]), SlotRange(2730, 4095, SHARDS[2])),
        ),
        "n",
    )


@pytest.mark.parametrize(
    ("code", "current", "shards", "patch"),
    [
        ("TENANT_EXISTS", Tenant(NAME, TenantSettings(), even_placement(SHARDS), "n"), SHARDS, SettingsPatch()),
        ("PLACEMENT_UNSATISFIABLE", None, [], SettingsPatch()),
        ("QUERY_INVALID", None, SHARDS, SettingsPatch(timezone="Europe/Atlantis")),
        ("QUERY_INVALID", None, SHARDS, SettingsPatch(timezone="")),
        ("QUERY_INVALID", None, SHARDS, SettingsPatch(hot_key_threshold=0)),
        ("QUERY_INVALID", None, SHARDS, SettingsPatch(hot_key_threshold=-1)),
        ("QUERY_INVALID", None, SHARDS, SettingsPatch(hot_key_mode="pepper")),
        ("QUERY_INVALID", None, SHARDS, SettingsPatch(hot_key_mode="")),
        ("QUERY_INVALID", None, SHARDS, SettingsPatch(timezone="../../etc/passwd")),
        ("QUERY_INVALID", None, SHARDS, SettingsPatch(retention_days=-1)),
        ("QUERY_INVALID", None, SHARDS, SettingsPatch(retention_days=36_526)),
        ("QUERY_INVALID", None, SHARDS, SettingsPatch(events_per_second=-1)),
        ("QUERY_INVALID", None, SHARDS, SettingsPatch(bytes_per_second=-1)),
        ("QUERY_INVALID", None, SHARDS, SettingsPatch(bytes_per_second=2**53 + 1)),
        ("QUERY_INVALID", None, SHARDS, SettingsPatch(owners=("nobody",))),
        ("QUERY_INVALID", None, SHARDS, SettingsPatch(report_sink="nowhere")),
        ("QUERY_INVALID", None, SHARDS, SettingsPatch(report_sink="smtp:host")),
        ("QUERY_INVALID", None, SHARDS, SettingsPatch(required_labels=("zone",))),
        ("QUERY_INVALID", None, SHARDS, SettingsPatch(required_labels=("zone=a b",))),
        ("QUERY_INVALID", None, SHARDS, SettingsPatch(required_labels=tuple(f"n{n}=a" for n in range(51)))),
    ],
)
def test_new_tenant_is_refused(code: str, current: Tenant | None, shards: list[ShardId], patch: SettingsPatch) -> None:
    with pytest.raises(EvenshardError) as raised:
        new_tenant(current, NAME, patch, shards, "n")
    assert raised.value.code == code


@pytest.mark.parametrize("name", ["", "../x", "A", "-a", "_a", "a" * 64, "a b", "a/b", "ä", "a\n"])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(EvenshardError) as raised:
        tenant_id(name)
    assert raised.value.code == "TENANT_NAME_INVALID"


@given(tenants(), patches)
def test_an_update_changes_what_the_patch_names_and_nothing_else(tenant: Tenant, patch: SettingsPatch) -> None:
    updated = updated_tenant(tenant, tenant.name, patch, "new")
    old = tenant.settings
    assert updated == Tenant(
        tenant.name,
        TenantSettings(
            patch.timezone or old.timezone,
            old.dedupe if patch.dedupe is None else patch.dedupe,
            old.strict if patch.strict is None else patch.strict,
            patch.hot_key_threshold or old.hot_key_threshold,
            cast(HotKeyMode, patch.hot_key_mode or old.hot_key_mode),
            old.retention_days if patch.retention_days is None else patch.retention_days,
            old.events_per_second if patch.events_per_second is None else patch.events_per_second,
            old.bytes_per_second if patch.bytes_per_second is None else patch.bytes_per_second,
            old.owners if patch.owners is None else patch.owners,
            old.report_sink if patch.report_sink is None else patch.report_sink,
            old.required_labels if patch.required_labels is None else patch.required_labels,
        ),
        tenant.placement,
        "new",
    )


def test_an_update_of_nobody_is_refused() -> None:
    with pytest.raises(EvenshardError) as raised:
        updated_tenant(None, NAME, SettingsPatch(), "n")
    assert raised.value.code == "TENANT_NOT_FOUND"


def test_an_expected_revision_must_be_the_tenants() -> None:
    check_revision(NAME, 0, Revision(7))
    check_revision(NAME, 7, Revision(7))
    for expected, actual in [(6, 7), (8, 7), (7, 0)]:
        with pytest.raises(EvenshardError) as raised:
            check_revision(NAME, expected, Revision(actual))
        assert raised.value.code == "OPERATION_CONFLICT"


@given(tenants(), st.integers(0, 1 << 60), patches, st.sampled_from(["create", "update"]))
def test_tenants_requests_and_patches_come_back_as_they_were_written(
    tenant: Tenant, revision: int, patch: SettingsPatch, verb: str
) -> None:
    assert Tenant.from_json(tenant.to_json()) == tenant
    there, at = tenant_from_proto(tenant_to_proto(tenant, Revision(revision)))
    assert (there.name, there.settings, there.placement, at) == (
        tenant.name,
        tenant.settings,
        tenant.placement,
        revision,
    )
    assert patch_from_proto(patch_to_proto(patch)) == patch
    done = DoneRequest(verb, patch, tenant)
    assert DoneRequest.from_json(done.to_json()) == done
    done.check_same("id", verb, tenant.name, patch)


def test_a_request_id_stands_for_one_change_only() -> None:
    tenant = new_tenant(None, NAME, SettingsPatch(), SHARDS, "n")
    done = DoneRequest("create", SettingsPatch(), tenant)
    for verb, name, patch in [
        ("update", NAME, SettingsPatch()),
        ("create", tenant_id("other"), SettingsPatch()),
        ("create", NAME, SettingsPatch(strict=False)),
    ]:
        with pytest.raises(EvenshardError) as raised:
            done.check_same("id", verb, name, patch)
        assert raised.value.code == "OPERATION_CONFLICT"


def test_a_record_from_before_retention_and_limits_has_none() -> None:
    tenant = new_tenant(None, NAME, SettingsPatch(strict=True), SHARDS, "n")
    record = json.loads(tenant.to_json())
    del record["retention_days"], record["events_per_second"], record["bytes_per_second"]
    assert Tenant.from_json(json.dumps(record).encode()) == tenant
    done = json.loads(DoneRequest("create", SettingsPatch(strict=True), tenant).to_json())
    done["patch"] = done["patch"][:5]
    DoneRequest.from_json(json.dumps(done).encode()).check_same("id", "create", NAME, SettingsPatch(strict=True))


def test_only_a_record_of_split_users_is_one_that_an_older_evenshard_refuses() -> None:
    tenant = new_tenant(None, NAME, SettingsPatch(), SHARDS, "n")
    whole = json.loads(tenant.to_json())
    assert (whole["version"], "overflow" in whole, "key" in whole) == (1, False, False)
    for change in ({"overflow": tenant.placement.slots}, {"key": "user_day"}):
        split = replace(tenant, placement=replace(tenant.placement, **change))
        assert json.loads(split.to_json())["version"] == 2
        assert Tenant.from_json(split.to_json()) == split


def test_a_slot_map_has_every_slot_once() -> None:
    whole = even_placement(SHARDS).slots
    for cut in (whole[1:], whole[:-1], (whole[0], *whole), (*whole[:1], *whole[2:])):
        with pytest.raises(ValueError, match="slot"):
            Placement(Epoch(1), cut)
        with pytest.raises(ValueError, match="slot"):
            Placement(Epoch(1), whole, cut)


def test_an_overflow_shard_may_hold_rows_of_anybody_and_others_those_at_home_there() -> None:
    apart = ShardId("shard-9")
    home, overflow = even_placement(SHARDS), even_placement([SHARDS[2], apart]).slots
    placement = replace(home, overflow=overflow)
    assert placement.shards == (*SHARDS, apart)
    spread = [placement.overflow_of(shard) for shard in placement.shards]
    assert [None if mask is None else int(mask.sum()) for mask in spread] == [None, None, 2048, 2048]
    assert [int(placement.owned_by(shard).sum()) for shard in placement.shards] == [1365, 1365, 1366, 0]
    for user in ("ann", "bob", "u1", "u2"):
        assert placement.home_of(user) in SHARDS
        assert home.shards_of(user) == (placement.home_of(user),)
        assert set(placement.shards_of(user)) == {placement.home_of(user), SHARDS[2], apart}
        assert replace(home, key="user_day").shards_of(user) == home.shards
    assert int(replace(home, key="user_day").taken_by(SHARDS[0]).sum()) == 4096
    assert not replace(home, key="user_day").taken_by(apart).any()


def test_a_record_from_before_hot_keys_has_their_defaults() -> None:
    tenant = new_tenant(None, NAME, SettingsPatch(strict=True), SHARDS, "n")
    record = json.loads(tenant.to_json())
    del record["hot_key_threshold"], record["hot_key_mode"]
    assert Tenant.from_json(json.dumps(record).encode()) == tenant


@given(st.text(max_size=40), st.integers(0, 60_000))
def test_the_key_of_a_mark_tells_what_is_marked(distinct_id: str, day: int) -> None:
    key = mark_key(NAME, distinct_id, day)
    assert key.isascii()
    assert marked_key(key.removeprefix(MARKS)) == (NAME, distinct_id, day)


def test_a_shard_has_one_value_of_each_label_that_is_required() -> None:
    required = required_of(("zone=a", "zone=b", "tier=ssd"))
    assert required == {"zone": {"a", "b"}, "tier": {"ssd"}}
    assert missing({"zone": "b", "tier": "ssd", "rack": "7"}, required) == ""
    assert missing({"zone": "c", "tier": "ssd"}, required) == "zone"
    assert missing({"zone": "a"}, required) == "tier"
    assert missing({}, required_of(())) == ""
