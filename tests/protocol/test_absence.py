"""Who was far from all groups is remembered while it is away, for a while and within bounds."""

import pytest

from swarmdem.errors import MalformedFrameError
from swarmdem.identifiers import PeerId
from swarmdem.protocol.absence import (
    ABSENT_MAX,
    REMEMBERED_FOR,
    Absence,
    pack_absent,
    still_absent,
    unpack_absent,
)
from swarmdem.protocol.placement import Standing
from tests.protocol.test_plans import EAST, LIKE_EAST, LIKE_WEST, WEST, Chain, chain

ANN, BOB, EVE = (PeerId(letter * 16) for letter in (b"a", b"b", b"e"))
APART = Standing(0, 2, apart=True)
FAR = Standing(255, 1, apart=False)


def test_only_who_was_far_or_apart_is_remembered_and_only_while_it_is_not_listed():
    standing = {ANN: APART, BOB: FAR, EVE: Standing()}

    assert still_absent({}, standing, [ANN, BOB, EVE]) == {}
    assert still_absent({}, standing, [ANN]) == {BOB: Absence(FAR, REMEMBERED_FOR)}
    assert still_absent({}, standing, []) == {ANN: Absence(APART, 32), BOB: Absence(FAR, 32)}


def test_it_is_forgotten_after_so_many_plans():
    absent = {ANN: Absence(APART, REMEMBERED_FOR)}
    for _ in range(REMEMBERED_FOR - 1):
        absent = still_absent(absent, {}, [])
    assert absent == {ANN: Absence(APART, 1)}

    assert still_absent(absent, {}, []) == {}


def test_those_who_left_last_are_remembered():
    many = {PeerId(number.to_bytes(16, "big")): Absence(FAR, 9) for number in range(ABSENT_MAX)}

    kept = still_absent(many, {ANN: APART}, [])

    assert len(kept) == ABSENT_MAX
    assert kept[ANN] == Absence(APART, 32)


def test_the_bytes_of_a_plan():
    absent = {ANN: Absence(APART, 32), BOB: Absence(FAR, 1)}

    assert pack_absent(absent).hex() == "61" * 16 + "0a20" + "62" * 16 + "f401"
    assert unpack_absent(pack_absent(absent)) == absent


@pytest.mark.parametrize(
    "content",
    [b"", bytes(17), ANN + b"\x0a\x00", ANN + b"\x0a\x21", ANN + b"\x0b\x01", (ANN + b"\x0a\x01") * 2],
    ids=["nothing", "a part", "forgotten", "for ever", "no standing", "twice"],
)
def test_what_no_plan_says_is_refused(content):
    with pytest.raises(MalformedFrameError):
        unpack_absent(content)


def everybody(swarm: Chain, outlier: bytes | None) -> None:
    """One more plan of six peers alike and, with a sketch, of peer 6."""
    sketches = {0: EAST, 1: LIKE_EAST, 2: EAST, 3: LIKE_EAST, 4: EAST, 5: LIKE_EAST}
    swarm.go(sketches if outlier is None else {**sketches, 6: outlier})


@pytest.mark.parametrize("away", [1, 5])
def test_a_peer_set_apart_is_still_apart_when_it_comes_back(away):
    swarm = chain(outliers=2)
    for _ in range(4):
        everybody(swarm, WEST)
    assert swarm.base.state.standing[swarm.peer(6)].apart
    for _ in range(away):
        everybody(swarm, None)
    assert swarm.base.state.absent == {swarm.peer(6): Absence(APART, REMEMBERED_FOR + 1 - away)}

    everybody(swarm, LIKE_WEST)

    assert swarm.base.state.standing[swarm.peer(6)].apart
    assert swarm.base.state.absent == {}


def test_a_row_of_far_certificates_goes_on_after_an_absence():
    swarm = chain(outliers=2)
    everybody(swarm, EAST)
    everybody(swarm, WEST)
    assert swarm.base.state.standing[swarm.peer(6)].streak == 1
    everybody(swarm, None)

    everybody(swarm, WEST)

    assert swarm.base.state.standing[swarm.peer(6)].apart


def test_plans_say_nothing_about_absent_peers_where_nobody_is_set_apart():
    swarm = chain(newcomers="top")
    for outlier in (WEST, None, None):
        everybody(swarm, outlier)

    assert all(7 not in dict(plan.ext) for plan in swarm.plans)
