"""Who is asked for a certificate, who is answered with ours, and which are held to be judged again."""

from swarmdem.identifiers import PeerId
from swarmdem.protocol.catchup import Catchup
from swarmdem.protocol.membership import Membership
from swarmdem.protocol.plans import Base
from swarmdem.simulation.signatures import PretendedIdentity, PretendedVerifier
from swarmdem.wire.charter import Charter
from swarmdem.wire.codec import FrameSealer
from swarmdem.wire.messages import NORMAL, Certificate, Entry, Plan, SignedVote

CHARTER = Charter(swarm="test")
ME = PretendedIdentity(0).peer
SEALER = FrameSealer(PretendedIdentity(0), CHARTER, 1, PretendedVerifier())
PATIENCE = 800


def base(name: str, parent: str, round_number: int, *, mode=NORMAL, lineage=(), peers=(ME,)) -> Base:
    entries = tuple(Entry(p, b"d" * 32, b"g" * 16, elector=True, listed=True) for p in sorted(peers))
    plan = Plan(parent.encode() * 32, round_number, mode, lineage, 0, 0, b"r" * 32, 0, 1, entries, groups=())
    certificate = Certificate(b"plan", 0, (SignedVote(b"k" * 32, b"s" * 64),))
    return Base(
        name.encode() * 32,
        plan,
        certificate,
        tuple(sorted(peers)),
        round_number,
        lineage,
        0,
        0,
        b"r" * 32,
        None,
    )


def test_an_unknown_base_is_asked_for_and_an_old_one_answered_when_named_again():
    members = Membership(PATIENCE, 10)
    catchup = Catchup(ME, SEALER, members, PATIENCE, CHARTER)
    old, new = base("1", "0", 1), base("2", "1", 2)
    catchup.adopted(new, old)
    peer = PeerId(b"x" * 16)
    members.hear(peer, b"z" * 32, 1, 0)

    assert catchup.named(peer, b"z" * 32, new, 0) == []
    asked = catchup.advance(PATIENCE // 16)
    assert [effect.receiver for effect in asked] == [peer]

    assert catchup.named(peer, old.id, new, 0) == []
    assert catchup.named(peer, old.id, new, PATIENCE // 8 - 1) == []
    assert [e.receiver for e in catchup.named(peer, old.id, new, PATIENCE // 8)] == [peer]
    assert catchup.named(peer, old.id, new, PATIENCE // 8 + 1) == []
