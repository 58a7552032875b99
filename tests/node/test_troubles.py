"""What a peer's status lists as not as it should be, and since when."""

from swarmdem.node.troubles import TROUBLES_MAX, Troubles, moment
from swarmdem.protocol.events import Degraded, Recovered, RoundFinished


class Clock:
    now = 1_000_000_000.0

    def __call__(self):
        return self.now


def finished(round, *, applied=True):
    return RoundFinished(
        b"p" * 32, round, True, applied, None, None, "" if applied else "no result came in time"
    )


def told(*events):
    clock, troubles = Clock(), None
    troubles = Troubles(clock)
    for event in events:
        troubles.note(event)
        clock.now += 10
    return clock, troubles


def test_a_trouble_lasts_from_its_first_word_until_it_is_over():
    _, troubles = told(finished(3), Degraded("no broker"), Degraded("no broker"), finished(4))

    [trouble] = troubles.open
    assert (trouble.what, trouble.since, trouble.round, trouble.until) == (
        "no broker",
        1_000_000_010.0,
        3,
        None,
    )
    assert str(trouble) == "no broker (since 2001-09-09T01:46:50Z, after round 3)"

    troubles.note(Recovered("no broker"))
    assert troubles.open == ()
    [over] = troubles.since(1_000_000_000.0)
    assert over.lasted(0.0) == 30.0
    assert troubles.since(1_000_000_041.0) == ()


def test_what_is_told_late_is_listed_by_when_it_began():
    _, troubles = told(Degraded("no model came"), Degraded("nothing comes back", lasted_s=25.0))

    assert [(trouble.what, trouble.since) for trouble in troubles.open] == [
        ("nothing comes back", 999_999_985.0),
        ("no model came", 1_000_000_000.0),
    ]
    assert troubles.since(0.0) == troubles.open


def test_a_single_mishap_is_listed_until_a_round_goes_well():
    _, troubles = told(Degraded("training failed", passing=True), finished(1, applied=False))
    assert [trouble.what for trouble in troubles.open] == ["training failed"]

    troubles.note(finished(2))
    assert troubles.open == ()


def test_the_list_has_a_bound():
    _, troubles = told(*(Degraded(f"trouble {number}") for number in range(TROUBLES_MAX + 5)))

    assert len(troubles.open) == TROUBLES_MAX
    assert troubles.open[0].what == "trouble 5"


def test_a_moment_reads_like_a_time():
    assert moment(0.4) == "1970-01-01T00:00:00Z"


def test_what_had_lasted_when_it_was_told_began_earlier():
    troubles = Troubles(lambda: 1000.0)

    troubles.note(Degraded("no echo", lasted_s=8.0))

    assert troubles.open[0].since == 992.0
    assert troubles.open[0].lasted(1000.0) == 8.0
