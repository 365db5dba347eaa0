"""The blocking client has every method of the other, with the same arguments and words."""

import inspect

import pytest
from evenshard.client import AsyncClient, Client

METHODS = sorted(name for name, member in vars(Client).items() if inspect.isfunction(member) and name[0] != "_")


def test_no_method_is_missing() -> None:
    public = {name for name, member in inspect.getmembers(AsyncClient, inspect.isfunction) if name[0] != "_"}
    assert public == set(METHODS)


@pytest.mark.parametrize("name", METHODS)
def test_a_method_has_the_signature_and_the_words_of_the_other(name: str) -> None:
    blocking, awaited = getattr(Client, name), getattr(AsyncClient, name)
    assert not inspect.iscoroutinefunction(blocking)
    assert inspect.signature(blocking).parameters == inspect.signature(awaited).parameters
    assert blocking.__doc__ == awaited.__doc__
    assert blocking.__doc__
    assert (blocking.__name__, blocking.__qualname__) == (name, f"Client.{name}")
