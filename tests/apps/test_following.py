"""Reports on their way to rows and lines."""

from swarmdem.apps import following


def test_a_group_around_a_single_other_one_is_not_counted_twice():
    groups = [{"members": ["a", "b", "c"]}, {"members": ["a", "b"]}, {"members": ["a", "b"]}]

    assert following._groups({"groups": groups}) == 2
