"""Which certificate wins: what follows from ours, children, forks, founding twins, inventions."""

import pytest

from swarmdem.identifiers import PeerId
from swarmdem.protocol.certificates import Proven, follows, quorum
from swarmdem.protocol.lineages import Lineages, Standpoint, beats_founding, behind
from swarmdem.protocol.membership import Membership
from swarmdem.protocol.plans import Base
from swarmdem.simulation.signatures import PretendedIdentity
from swarmdem.wire.charter import Charter
from swarmdem.wire.messages import FOUNDING, NORMAL, PROVISIONAL, Certificate, Entry, Fork, Plan, SignedVote

PATIENCE = 800
LATE = 100 * PATIENCE
"""A time at which this peer has listened for long."""
KEYS = {PretendedIdentity(index).peer: PretendedIdentity(index).public_key for index in range(9)}
ME, ANN, BOB, EVE, IVY, JOE, KIM = (PretendedIdentity(index).peer for index in range(7))
ALL = (ME, ANN, BOB, EVE, IVY)
FORK = Fork(b"f" * 16, b"1" * 32, 4)
OTHER_FORK = Fork(b"e" * 16, b"1" * 32, 4)


def base(
    name: str, parent: str, number: int, *, mode=NORMAL, lineage=(), peers=(ME,), electors=(), voters=()
) -> Base:
    """A certificate whose id is *name* repeated, of *peers*, voted for by *voters*."""
    everybody = sorted({*peers, *electors})
    entries = tuple(
        Entry(
            p,
            b"d" * 32 if p in peers else b"",
            b"g" * 16,
            elector=p in (electors or peers),
            listed=p in peers,
        )
        for p in everybody
    )
    plan = Plan(parent.encode() * 32, number, mode, lineage, 0, 0, b"r" * 32, 0, 1, entries, groups=())
    votes = tuple(SignedVote(KEYS[p], b"s" * 64) for p in sorted(voters or peers))
    certificate = Certificate(b"plan", 0, votes)
    listed = tuple(sorted(peers))
    return Base(name.encode() * 32, plan, certificate, listed, number, lineage, 0, 0, b"r" * 32, None)


def proven(base: Base, *voters: PeerId) -> Proven:
    return Proven(base, base.plan, frozenset(voters or base.electorate))


def judge(
    theirs: Base, ours: Base, *, heard=(), voters=(), lost=False, applied=False, mode="available", **times
) -> bool:
    """Say whether *ours* is left for *theirs*; *heard*: (peer, base it names)."""
    now, since = times.get("now", LATE), times.get("since", times.get("now", LATE))
    members = Membership(PATIENCE, 20)
    lineages = Lineages(ME, Charter(swarm="test", agreement=mode), members)
    lineages.meet(ours)
    for peer, stands_on in heard:
        for at in range(since, now + 1, PATIENCE):
            members.hear(peer, stands_on.id, 1, at)
        lineages._remember(stands_on)
    at = Standpoint(ours, lost, applied, times.get("listening_since", 0))
    return lineages.prefers(proven(theirs, *voters), at, now)


def test_a_certified_child_of_our_base_is_adopted():
    assert judge(base("2", "1", 2), base("1", "0", 1))


def test_whoever_stands_on_nothing_takes_what_it_is_given():
    founding = Base(b"c" * 32, None, None, (), 0, (), 0, 0, b"", None)

    assert judge(base("9", "8", 30, peers=(ANN, BOB)), founding)


def test_an_unlisted_peer_follows_a_provisional_child_only_without_a_majority():
    ours = base("1", "0", 1, peers=(ME, ANN, BOB))
    child = base("2", "1", 2, mode=PROVISIONAL, lineage=(FORK,), peers=(ANN, BOB))

    assert not judge(child, ours, heard=[(ANN, child), (BOB, child)])
    assert judge(child, ours, lost=True)


def test_a_listed_peer_follows_a_provisional_child_that_half_of_those_in_sight_voted_for():
    ours = base("1", "0", 1, peers=ALL)
    child = base("2", "1", 2, mode=PROVISIONAL, lineage=(FORK,), peers=(ME, ANN, BOB))

    assert judge(child, ours, voters=(ANN, BOB), heard=[(ANN, ours), (BOB, ours), (EVE, ours)])
    assert not judge(child, ours, voters=(ANN, BOB), heard=[(EVE, ours), (IVY, ours)])


def test_strangers_who_list_a_peer_do_not_carry_it_away():
    ours = base("1", "0", 1, peers=(ME, ANN))
    child = base("2", "1", 2, mode=PROVISIONAL, lineage=(FORK,), peers=(ME, IVY, JOE, KIM))

    assert not judge(child, ours, voters=(IVY, JOE, KIM), heard=[(ANN, ours)])


def test_a_certified_sibling_beats_a_provisional_one_until_it_is_applied():
    mine = base("2", "1", 5, mode=PROVISIONAL, lineage=(FORK,), peers=(ME, ANN))
    normal = base("3", "1", 5, peers=(ME, ANN, BOB), voters=(BOB,))

    assert judge(normal, mine)
    assert not judge(normal, mine, applied=True, heard=[(ANN, mine)])


def test_on_one_path_the_higher_round_is_ahead():
    assert behind(base("1", "0", 3), base("2", "9", 7))
    assert not behind(base("1", "0", 7), base("2", "9", 3))


def test_whose_path_goes_on_from_ours_is_ahead_unless_we_passed_the_fork():
    forked = base("5", "4", 6, lineage=(FORK,))

    assert behind(base("1", "0", 4), forked)
    assert not behind(base("1", "0", 5), forked)
    assert not behind(forked, base("1", "0", 4))


def test_who_missed_rounds_follows_the_votes_of_more_than_half_of_its_electorate():
    ours = base("1", "0", 1, peers=ALL)
    later = base("9", "8", 9, peers=(ANN, BOB, EVE))

    assert follows(proven(later), ours)
    assert judge(later, ours, now=0)
    assert not follows(proven(later, ANN, BOB), ours)


def test_an_older_certificate_does_not_win_because_ours_is_made_of_the_same_peers():
    ours = base("9", "8", 9, peers=ALL)
    older = base("3", "2", 3, peers=ALL)

    assert not judge(older, ours, heard=[(ANN, older), (BOB, older), (EVE, older)])


def test_a_certificate_of_an_invented_electorate_is_not_believed():
    ours = base("1", "0", 1, peers=ALL)
    invented = base("z", "y", 900, peers=(IVY, JOE, KIM))
    others = [(ANN, ours), (BOB, ours)]

    assert not judge(invented, ours, heard=[others[0], (JOE, invented), (KIM, invented)])
    assert not judge(invented, ours, heard=[*others, (EVE, invented), (JOE, invented), (KIM, invented)])


def test_strangers_count_only_after_four_patiences_in_sight():
    ours = base("1", "0", 1, peers=(ME, ANN))
    theirs = base("z", "y", 900, peers=(IVY, JOE, KIM))
    heard = [(ANN, ours), (IVY, theirs), (JOE, theirs), (KIM, theirs)]

    assert not judge(theirs, ours, heard=heard, since=LATE - 3 * PATIENCE)
    assert judge(theirs, ours, heard=heard, since=LATE - 4 * PATIENCE)


def test_two_who_founded_a_swarm_each_come_together_at_the_higher_round():
    mine, theirs = base("1", "0", 3), base("8", "7", 6, peers=(JOE,))

    assert judge(theirs, mine, heard=[(JOE, theirs)])
    assert not judge(mine, base("8", "7", 6), heard=[(JOE, mine)])


def test_one_peer_we_know_is_enough_where_our_electorate_is_gone_but_only_then():
    ours = base("1", "0", 4, peers=(ME, ANN))
    three = base("1", "0", 4, peers=(ME, ANN, BOB))
    ahead = base("8", "7", 9, lineage=(FORK,), peers=(ANN,))

    assert judge(ahead, ours, heard=[(ANN, ahead)])
    assert not judge(ahead, three, heard=[(ANN, ahead), (BOB, three)])


def test_nothing_is_counted_before_others_had_time_to_be_heard():
    ours = base("1", "0", 4, peers=(ME, ANN))
    ahead = base("8", "7", 9, lineage=(FORK,), peers=(ANN,))

    assert not judge(ahead, ours, heard=[(ANN, ahead)], listening_since=LATE - PATIENCE // 2 + 1)
    assert judge(ahead, ours, heard=[(ANN, ahead)], listening_since=LATE - PATIENCE // 2)


def test_of_two_forks_the_one_with_more_live_peers_wins_then_the_lower_path():
    mine = base("2", "1", 5, lineage=(FORK,), peers=ALL)
    theirs = base("3", "1", 5, lineage=(OTHER_FORK,), peers=ALL)

    assert not judge(theirs, mine)
    assert judge(theirs, mine, heard=[(ANN, theirs)]), "one each: the lower path"
    assert not judge(mine, theirs, heard=[(ANN, mine)])
    assert judge(mine, theirs, heard=[(ANN, mine), (BOB, mine)])


def test_a_newcomer_leaves_what_it_took_on_trust_for_what_more_peers_stand_on():
    trusted = base("z", "y", 900, peers=(JOE,))
    real = base("5", "4", 5, peers=(ANN, BOB))
    heard = [(JOE, trusted), (ANN, real), (BOB, real), (EVE, real)]

    assert judge(real, trusted, heard=heard, since=LATE - 4 * PATIENCE)
    assert not judge(real, base("z", "y", 900, peers=(ME, JOE)), heard=heard, since=LATE - 4 * PATIENCE)


def test_a_newcomer_does_not_go_back_from_what_follows():
    newest = base("6", "5", 6, peers=(ANN, BOB, EVE))
    before = base("3", "2", 3, peers=(ANN, BOB))

    assert not judge(before, newest, heard=[(ANN, before), (BOB, before)])


def test_in_the_mode_bft_nothing_is_counted():
    ours = base("1", "0", 1)
    theirs = base("z", "y", 9, peers=(ANN, BOB))
    heard = [(ANN, theirs), (BOB, theirs)]

    assert judge(theirs, ours, heard=heard, since=0)
    assert not judge(theirs, ours, heard=heard, since=0, mode="bft")
    assert judge(base("2", "1", 2), ours, mode="bft")


@pytest.mark.parametrize(
    ("peers", "available", "bft"),
    [(1, 1, 1), (2, 2, 2), (3, 2, 3), (4, 3, 3), (6, 4, 5), (7, 4, 5), (10, 6, 7)],
)
def test_quorums(peers, available, bft):
    assert quorum(Charter(swarm="s"), peers) == available
    assert quorum(Charter(swarm="s", agreement="bft"), peers) == bft


def test_of_two_foundings_the_one_with_more_peers_wins_then_the_lower_id():
    small = base("1", "0", 0, mode=FOUNDING)
    large = base("2", "0", 0, mode=FOUNDING, peers=(ME, ANN))
    twin = base("0", "0", 0, mode=FOUNDING)

    assert beats_founding(large, small)
    assert not beats_founding(small, large)
    assert beats_founding(twin, small)
    assert judge(large, small)
    assert not judge(small, large)
