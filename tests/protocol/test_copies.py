"""Two processes with one key: one of them falls silent."""

from swarmdem.protocol import events
from swarmdem.protocol.copies import SAID_MAX, Copies
from swarmdem.simulation.signatures import PretendedIdentity, PretendedVerifier
from swarmdem.wire.charter import Charter
from swarmdem.wire.codec import FrameSealer
from swarmdem.wire.messages import NORMAL, Hello, Ping, Vote
from tests.protocol.core_swarm import CoreSwarm

CHARTER = Charter(swarm="test")
BASE = b"b" * 32


def sealer(session: int = 3) -> FrameSealer:
    return FrameSealer(PretendedIdentity(0), CHARTER, session, PretendedVerifier())


def hello(nonce: int, session: int = 3):
    return sealer(session).seal(Hello(b"c", bytes([nonce]) * 16, 1, 1, 0, b""))


def test_of_two_frames_under_one_number_the_lower_id_loses():
    one, other = sorted((hello(1), hello(2)), key=lambda frame: frame.id)
    lower, higher = Copies(3), Copies(3)
    lower.said(one)
    higher.said(other)

    assert lower.reveals(other) is False or higher.reveals(one) is False
    assert {lower.reveals(other), higher.reveals(one)} == {True, False}


def test_own_frames_frames_of_earlier_runs_and_standing_frames_reveal_nothing():
    copies, mine = Copies(3), hello(1)
    copies.said(mine)
    vote = sealer().seal(Vote(BASE, NORMAL, 0, b"p" * 32))
    copies.said(vote)

    assert not copies.reveals(mine)
    assert not copies.reveals(hello(2, session=2))
    assert not copies.reveals(vote)
    assert not copies.reveals(hello(2, session=4)), "a broker may have retained it"
    assert copies.reveals(sealer(4).seal(Ping(BASE)))


def test_what_is_remembered_is_bounded():
    copies, mine = Copies(3), sealer()
    for _ in range(SAID_MAX + 5):
        copies.said(mine.seal(Ping(BASE)))

    assert len(copies._said) == SAID_MAX


def test_of_two_copies_of_a_state_folder_started_at_once_one_falls_silent():
    swarm, copy = CoreSwarm(3), CoreSwarm(3)
    swarm.start(0, 1, 2)
    copy.start(1)
    swarm.run(lambda: bool(swarm.sent), limit_s=1)
    said = []
    perform = copy._perform

    def overheard(index, effect):
        if isinstance(effect, events.Publish):
            said.append(effect.crossing)
        perform(index, effect)

    copy._perform = overheard
    own = []
    watched = swarm._perform

    def watch(index, effect):
        if index == 1 and isinstance(effect, events.Publish):
            own.append(effect.crossing)
        watched(index, effect)

    swarm._perform = watch
    for _ in range(40):
        swarm.run(lambda: False, limit_s=0.1)
        copy.run(lambda: False, limit_s=0.1)
        for frame in said:
            swarm.give(1, events.Received(frame))
        for frame in own:
            copy.give(1, events.Received(frame))
        said.clear()
        own.clear()

    refused = [swarm.of(events.KeyRefused), copy.of(events.KeyRefused)]
    assert sorted(len(found) for found in refused) == [0, 1]
