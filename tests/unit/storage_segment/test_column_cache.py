"""The cache of columns stays within its bytes, and a scan larger than it throws out none of its own parts."""

import pyarrow as pa
import pytest
from evenshard.errors import EvenshardError
from evenshard.ids import TenantId
from evenshard.storage.columns.cache import ColumnCache
from evenshard.storage.columns.runs import own_runs
from evenshard.storage.columns.users import Source, users_of


def asked(cache: ColumnCache, keys: str, scan: int, size: int = 10) -> str:
    """The keys that were held; the others are put."""
    held = ""
    for key in keys:
        if cache.get(key, scan) is None:
            cache.put(key, key, size, scan)
        else:
            held += key
    return held


def test_what_was_not_used_for_longest_goes_first() -> None:
    cache = ColumnCache(30)
    assert asked(cache, "abc", cache.begin()) == ""
    assert (asked(cache, "a", cache.begin()), cache.bytes) == ("a", 30)
    assert asked(cache, "d", cache.begin()) == ""
    assert (asked(cache, "acd", cache.begin()), cache.bytes) == ("acd", 30)


def test_of_a_scan_that_does_not_fit_as_much_as_fits_stays() -> None:
    cache = ColumnCache(30)
    assert asked(cache, "abcde", cache.begin()) == ""
    assert asked(cache, "abcde", cache.begin()) == "abc"
    assert asked(cache, "abcde", cache.begin()) == "abc"
    assert (asked(cache, "xyz", cache.begin()), cache.bytes) == ("", 30)
    assert asked(cache, "xyz", cache.begin()) == "xyz"


def test_what_is_larger_than_the_cache_is_not_held_and_a_new_value_takes_the_place_of_the_old() -> None:
    cache = ColumnCache(30)
    cache.put("a", "large", 31, cache.begin())
    assert (cache.get("a", 1), cache.bytes) == (None, 0)
    cache.put("a", "one", 20, 1)
    cache.put("a", "other", 25, 1)
    assert (cache.get("a", 1), cache.bytes) == ("other", 25)
    cache.drop("a")
    assert (cache.get("a", 1), cache.bytes) == (None, 0)


def test_more_users_than_fit_are_refused_with_the_reason_and_not_as_something_to_wait_for() -> None:
    ids = pa.array([f"user-{number}" for number in range(100)])
    source = Source("block", lambda: own_runs([ids], pa.array(range(100)).to_numpy()))

    def numbered(bytes_max: int) -> int:
        cache = ColumnCache(bytes_max)
        found = users_of(cache, cache.begin(), TenantId("acme"), [source], lambda _: True, 0)
        assert 0 < cache.bytes <= bytes_max
        return len(found.people)

    assert numbered(10_000) == 100
    with pytest.raises(EvenshardError, match="the 100 users of acme on this shard need") as refused:
        numbered(1_000)
    assert (refused.value.code, refused.value.retryable) == ("QUERY_INVALID", False)
