"""Most of what a peer hears is only noted: it looks at all that may be due after few frames of many."""

from collections import Counter

from swarmdem.identifiers import SECOND
from swarmdem.protocol.events import LeaveRequested, PeerSeen, Publish, Received, Report, Woke
from swarmdem.protocol.status import Phase
from swarmdem.wire.messages import Offline, Ping, Vote
from tests.protocol.core_swarm import CoreSwarm

PEERS = 9


def heard_and_looked(rounds):
    """Return how many frames of each kind peer 0 hears in *rounds*, and after how many it looks around."""
    swarm = CoreSwarm(PEERS)
    swarm.start(*range(PEERS))
    core = swarm.cores[0]
    assert swarm.run(lambda: core.status().round == 2)
    handle, advance = core.handle, core._advance
    heard, looked, now_heard = Counter(), Counter(), []

    def noting(event, now):
        now_heard[:] = [type(event.frame.message).__name__] if isinstance(event, Received) else []
        heard.update(now_heard)
        return handle(event, now)

    def looking(time):
        looked.update(now_heard)
        return advance(time)

    core.handle, core._advance = noting, looking
    assert swarm.run(lambda: core.status().round == 2 + rounds)
    return heard, looked


def test_a_digest_is_looked_into_when_it_is_the_last_and_a_vote_when_it_decides():
    heard, looked = heard_and_looked(4)

    assert heard["Digest"] == heard["Vote"] == 4 * PEERS
    assert looked["Digest"] == 4 * 2 + 3, "its own comes back, the last one, and whoever was waited for first"
    assert looked["Vote"] == 4 * 2


def test_the_founder_of_a_large_swarm_counts_the_votes_for_all():
    swarm, votes = CoreSwarm(65), Counter()
    swarm.start(*range(65))
    for index, core in swarm.cores.items():

        def noting(event, now, index=index, handle=core.handle):
            votes[index] += isinstance(event, Received) and isinstance(event.frame.message, Vote)
            return handle(event, now)

        core.handle = noting

    assert swarm.run(lambda: all(core.status().base is not None for core in swarm.cores.values()))

    assert votes.total() == max(votes.values()) == 64


def in_training(seconds):
    """Return a swarm in which core 0 has its digest out and waits for some that train *seconds* longer."""
    swarm = CoreSwarm(PEERS)
    swarm.training = lambda index: SECOND * (3 if index == 0 else 3 + seconds)
    swarm.start(*range(PEERS))
    core = swarm.cores[0]
    assert swarm.run(lambda: core.status().round == 1 and core.status().phase is Phase.AGREEING)
    return swarm, core


def test_what_falls_due_while_frames_that_are_only_noted_keep_coming_waits_for_a_millisecond_at_most():
    """As under load: the core is neither woken nor asked when to, and hears five pings a millisecond."""
    swarm, core = in_training(60)
    other = swarm.cores[1]._sealer
    due = core.next_wakeup()
    looked, said, advance = [], [], core._advance

    def looking(time):
        looked.append(core._now - due)
        return advance(time)

    core._advance = looking
    for now in range(due - 2_000, due + 3_200, 200):
        ping = other.seal(Ping(core.status().base))
        said += [now - due for effect in core.handle(Received(ping), now) if isinstance(effect, Publish)]

    assert looked == [0, 1_000, 2_000, 3_000]
    assert said == [0], "that it is there"


def test_a_peer_that_has_left_answers_nothing_however_soon():
    swarm, core = in_training(60)
    awaited = [swarm.index(peer) for peer in sorted(core._round.agreement.collecting.missing)]
    one, other = (swarm.cores[index]._sealer for index in awaited[:2])
    digest = core._round.agreement._mine.message
    for sealer in (one, other):
        core.handle(Received(sealer.seal(Offline(leaving=False))), swarm.now)
    assert core.handle(Received(one.seal(digest)), swarm.now) == [Report(PeerSeen(one.peer, present=True))]
    core.handle(Woke(), swarm.now)
    core.handle(LeaveRequested(), swarm.now)

    assert core.handle(Received(other.seal(digest)), swarm.now) == []
