"""Who counts a vote: everybody for itself in a small swarm, a few for all in a large one.

A thousand votes that each of a thousand peers counts are a million frames. Nobody depends on those few: a
vote that has led to nothing is repeated to everybody (`Voting.standing`).
"""

from swarmdem.identifiers import PeerId, Term
from swarmdem.protocol.proposals import Offered
from swarmdem.protocol.situation import Situation
from swarmdem.wire.messages import FOUNDING, NORMAL

LEADERS = 3
"""Who gets the votes of a crowd: so many that lead next."""


def counters(
    situation: Situation, ranked: tuple[PeerId, ...], offered: Offered, mode: int, term: Term
) -> tuple[PeerId, ...]:
    """Return who counts this peer's vote for all; none: everybody for itself.

    Where the voters are a crowd, the next three leaders do; of a founding plan its proposer does.

    Args:
        situation: The base.
        ranked: Its electorate in the order in which terms are led.
        offered: What is voted for.
        mode: Of the vote.
        term: Of the vote.
    """
    if situation.charter.agreement == "bft":
        return ()
    if mode == FOUNDING and len(offered.listed) > situation.crowd:
        return (offered.frame.sender,)
    if mode == NORMAL and len(ranked) > situation.crowd:
        return tuple(ranked[(term + k) % len(ranked)] for k in range(LEADERS))
    return ()
