"""Frames that are only noted: most of what a peer hears leads on to nothing at once.

The core looks at everything that may be due after each input. In a swarm of a thousand that would be a
million looks a round for pings, digests and votes. What falls due by itself waits for `Woke`, so a frame
that makes nothing else due needs no look.
"""

from swarmdem.identifiers import Micros
from swarmdem.protocol.catchup import Catchup
from swarmdem.protocol.round import Round
from swarmdem.wire.frame import Frame
from swarmdem.wire.messages import Vote


def noted(frame: Frame, round: Round, catchup: Catchup, now: Micros) -> bool:
    """Take a ping of a peer in sight, or a vote on a base this peer has left; False: it is something else.

    Args:
        frame: What came.
        round: What this peer does on its base.
        catchup: Which bases it has left.
        now: Connected time.
    """
    message, s = frame.message, round.s
    if isinstance(message, Vote):  # of no session: anybody may repeat it, it proves no presence
        return frame.sender != s.me and message.base != s.base.id and catchup.knows_older(message.base)
    return not round.agreement.lacks(message) and s.membership.renews(frame, s.base.id, now)
