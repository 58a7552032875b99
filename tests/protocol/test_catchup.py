"""Which certificate wins: children, forks, founding twins; who is asked and who is answered."""

from swarmdem.identifiers import PeerId
from swarmdem.protocol.catchup import Catchup
from swarmdem.protocol.membership import Membership
from swarmdem.protocol.plans import Base, beats_founding, behind
from swarmdem.simulation.signatures import PretendedIdentity, PretendedVerifier
from swarmdem.wire.charter import Charter
from swarmdem.wire.codec import FrameSealer
from swarmdem.wire.messages import FOUNDING, NORMAL, PROVISIONAL, Certificate, Entry, Fork, Plan, SignedVote

CHARTER = Charter(swarm="test")
ME = PretendedIdentity(0).peer
SEALER = FrameSealer(PretendedIdentity(0), CHARTER, 1, PretendedVerifier())
PATIENCE = 800
FORK = Fork(b"f" * 16, b"1" * 32, 4)
OTHER_FORK = Fork(b"e" * 16, b"1" * 32, 4)


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


def judge(theirs: Base, ours: Base, *, may_leave=False, applied=False, heard=()) -> bool:
    members = Membership(PATIENCE, 10)
    catchup = Catchup(ME, SEALER, members, PATIENCE, CHARTER)
    catchup._remember(ours)
    for peer, stands_on in heard:
        members.hear(peer, stands_on.id, 1, 0)
        catchup._remember(stands_on)
    return catchup.prefers(theirs, ours, may_leave=may_leave, applied=applied, now=0)


def test_a_certified_child_of_our_base_is_adopted():
    assert judge(base("2", "1", 2), base("1", "0", 1))


def test_an_unlisted_peer_follows_a_provisional_child_only_without_a_majority():
    other = PeerId(b"x" * 16)
    child = base("2", "1", 2, mode=PROVISIONAL, lineage=(FORK,), peers=(other,))

    assert not judge(child, base("1", "0", 1))
    assert judge(child, base("1", "0", 1), may_leave=True)


def test_a_certified_sibling_beats_a_provisional_one_until_it_is_applied():
    mine = base("2", "1", 5, mode=PROVISIONAL, lineage=(FORK,))
    normal = base("3", "1", 5)

    assert judge(normal, mine)
    assert not judge(normal, mine, applied=True, heard=[(PeerId(b"x" * 16), mine)])


def test_on_one_path_the_higher_round_is_ahead():
    assert behind(base("1", "0", 3), base("2", "9", 7))
    assert not behind(base("1", "0", 7), base("2", "9", 3))


def test_whose_path_goes_on_from_ours_is_ahead_unless_we_passed_the_fork():
    forked = base("5", "4", 6, lineage=(FORK,))

    assert behind(base("1", "0", 4), forked)
    assert not behind(base("1", "0", 5), forked)
    assert not behind(forked, base("1", "0", 4))


def test_of_two_forks_the_one_with_more_live_peers_wins_then_the_lower_path():
    mine = base("2", "1", 5, lineage=(FORK,))
    theirs = base("3", "1", 5, lineage=(OTHER_FORK,))
    a, b = PeerId(b"x" * 16), PeerId(b"y" * 16)

    assert not judge(theirs, mine)
    assert judge(theirs, mine, heard=[(a, theirs)]), "one each: the lower path"
    assert not judge(mine, theirs, heard=[(a, mine)])
    assert judge(mine, theirs, heard=[(a, mine), (b, mine)])


def test_of_two_foundings_the_one_with_more_peers_wins_then_the_lower_id():
    small = base("1", "0", 0, mode=FOUNDING)
    large = base("2", "0", 0, mode=FOUNDING, peers=(ME, PeerId(b"x" * 16)))
    twin = base("0", "0", 0, mode=FOUNDING)

    assert beats_founding(large, small)
    assert not beats_founding(small, large)
    assert beats_founding(twin, small)
    assert judge(large, small)
    assert not judge(small, large)


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
