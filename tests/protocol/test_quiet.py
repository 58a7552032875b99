"""Most of what a peer hears is only noted: it looks at all that may be due after few frames of many."""

from collections import Counter

from swarmdem.protocol.events import Received
from swarmdem.wire.messages import Vote
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
