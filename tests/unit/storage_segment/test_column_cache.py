"""The cache of columns stays within its bytes, and a scan larger than it throws out none of its own parts."""

from evenshard.storage.columns.cache import ColumnCache


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
