import pytest
from hypothesis import given, strategies as st

from swarmdem.errors import MisuseError
from swarmdem.transport.routing import Routes, check_pattern, check_topic

LEVELS = st.sampled_from(["a", "b", "", "$x"])
TOPICS = st.lists(LEVELS, min_size=1, max_size=4).map("/".join).filter(bool)
PATTERNS = st.builds(
    lambda levels, rest: "/".join(levels + (["#"] if rest else [])),
    st.lists(LEVELS | st.just("+"), min_size=1, max_size=4),
    st.booleans(),
).filter(bool)


def matches(pattern: str, topic: str) -> bool:
    """MQTT 3.1.1, section 4.7, one pattern at a time."""
    wanted, given_levels = pattern.split("/"), topic.split("/")
    if topic.startswith("$") and wanted[0] in ("+", "#"):
        return False
    if wanted[-1] == "#":
        wanted, given_levels = wanted[:-1], given_levels[: len(wanted) - 1]
    return len(wanted) == len(given_levels) and all(
        one in ("+", other) for one, other in zip(wanted, given_levels, strict=True)
    )


@given(st.lists(st.tuples(PATTERNS, st.integers(0, 3))), st.lists(st.integers(0, 20)), TOPICS)
def test_routes_find_whom_trying_each_pattern_finds(
    added: list[tuple[str, int]], removed: list[int], topic: str
) -> None:
    routes: Routes[int] = Routes()
    kept = set()
    for pattern, receiver in added:
        routes.add(pattern, receiver)
        routes.match(topic)  # what is remembered must not outlive a change
        kept.add((pattern, receiver))
    for index in removed:
        if index < len(added):
            routes.remove(*added[index])
            kept.discard(added[index])

    found = routes.match(topic)

    assert len(found) == len(set(found))
    assert set(found) == {receiver for pattern, receiver in kept if matches(pattern, topic)}
    assert set(routes.patterns) == {pattern for pattern, _ in kept}


def test_a_hash_matches_its_parent_level_too() -> None:
    routes: Routes[str] = Routes()
    routes.add("a/#", "x")

    assert [routes.match(topic) for topic in ("a", "a/b", "a/b/c", "b")] == [("x",), ("x",), ("x",), ()]


def test_removing_says_when_a_pattern_is_wanted_by_nobody_any_more() -> None:
    routes: Routes[str] = Routes()
    routes.add("a/+", "x")
    routes.add("a/+", "y")

    assert routes.remove("a/+", "z") is False
    assert routes.remove("a/+", "x") is False
    assert routes.patterns_of("y") == ("a/+",)
    assert routes.remove("a/+", "y") is True
    assert routes.patterns == ()


def test_the_memory_of_topics_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("swarmdem.transport.routing.REMEMBERED_MAX", 3)
    routes: Routes[str] = Routes()
    routes.add("+", "x")

    assert [routes.match(str(number)) for number in range(10)] == [("x",)] * 10
    assert len(routes._remembered) <= 3


@pytest.mark.parametrize("pattern", ["a", "+", "#", "a/+/#", "/", "$SYS/#"])
def test_valid_patterns_pass(pattern: str) -> None:
    check_pattern(pattern)


@pytest.mark.parametrize("pattern", ["", "a#", "#/a", "+a", "a/b+/c", "x" * 65_536])
def test_invalid_patterns_are_misuse(pattern: str) -> None:
    with pytest.raises(MisuseError):
        check_pattern(pattern)


def test_a_topic_longer_than_mqtt_can_say_is_misuse() -> None:
    check_topic("x" * 65_535)
    with pytest.raises(MisuseError):
        check_topic("x" * 65_536)
