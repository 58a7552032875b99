"""Open files are allowed as far as they can be; where that is too few, it is said."""

import resource

import pytest

from swarmdem.apps import limits
from swarmdem.errors import ConfigError


@pytest.fixture
def system(monkeypatch):
    """A system with a soft and a hard limit."""
    now = {"limit": (1024, 4096)}
    monkeypatch.setattr(limits.resource, "getrlimit", lambda what: now["limit"])
    monkeypatch.setattr(limits.resource, "setrlimit", lambda what, limit: now.update(limit=limit))
    return now


def test_the_soft_limit_is_raised_to_what_is_wanted(system):
    assert limits.allow_files(2000) == 2000
    assert system["limit"] == (2000, 4096)


def test_a_limit_that_is_high_enough_stays(system):
    assert limits.allow_files(100) == 1024
    assert system["limit"] == (1024, 4096)


def test_a_hard_limit_is_the_end(system):
    assert limits.allow_files(5000) == 4096
    assert system["limit"] == (4096, 4096)


def test_without_a_limit_nothing_is_changed(system):
    system["limit"] = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)

    assert limits.allow_files(10**6) == 10**6
    assert system["limit"] == (resource.RLIM_INFINITY, resource.RLIM_INFINITY)


def test_too_few_for_the_peers_of_a_process_are_told_in_one_line(system):
    limits.require_files(4096, "900 peers in one process")

    with pytest.raises(
        ConfigError, match="1000 peers in one process: needs 4128 open files, and `ulimit -Hn` allows 4096"
    ):
        limits.require_files(4128, "1000 peers in one process")
