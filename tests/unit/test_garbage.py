"""How often garbage is looked for in a process that takes events in."""

import gc
from collections.abc import Iterator

import pytest

from monitor.commands.garbage import NEW_OBJECTS, collect_seldom


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)
    gc.unfreeze()


def test_what_lives_as_long_as_the_process_is_not_looked_through_again() -> None:
    collect_seldom()
    assert gc.get_freeze_count() > NEW_OBJECTS
    assert len(gc.get_objects(generation=2)) < NEW_OBJECTS


def test_young_objects_are_still_looked_through() -> None:
    collect_seldom()
    assert gc.isenabled()
    assert gc.get_threshold()[0] == NEW_OBJECTS
