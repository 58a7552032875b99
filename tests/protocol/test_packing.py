"""A crowd says digests without sketches to few, and one pack of them crosses to all."""

import itertools
from dataclasses import replace

import pytest
from msgspec import structs

from swarmdem.identifiers import SECOND
from swarmdem.protocol import events, packing
from swarmdem.protocol.election import rank
from swarmdem.simulation.signatures import PretendedIdentity, PretendedVerifier
from swarmdem.wire.codec import FrameSealer
from swarmdem.wire.messages import Digest, Mean, Ping
from swarmdem.wire.shortened import DigestPack, ShortMean
from tests.protocol.core_swarm import CoreSwarm


class Crowd:
    """A swarm that has just adopted its first tree, which it keeps, and what crosses from then on.

    Five electors are a crowd to its peers, unless *bound* says otherwise.
    """

    def __init__(self, count=7, lose=lambda frame, receiver: False, bound=lambda index: 4):
        self.swarm = CoreSwarm(count, tau=9)
        self.swarm.crowd = bound
        self.swarm.start(*range(count))
        assert self.reaches(1)
        base = self.swarm.cores[0].round_record().base
        self.ranked = [self.swarm.index(peer) for peer in rank(base.electorate, base.id)]
        self.crossed = []
        self.swarm.lose = self.listen
        self.lose = lose

    def listen(self, frame, receiver):
        self.crossed.append((self.swarm.now, receiver, frame))
        return self.lose(frame, receiver)

    def reaches(self, number):
        cores = self.swarm.cores
        return self.swarm.run(lambda: all(core.status().round >= number for core in cores.values()))

    def kill_once_digests_are_out(self, *indices):
        """End peers that lead next when every other one has trained."""
        self.swarm.training = lambda index: (3 if index in indices else 4) * SECOND
        assert self.swarm.run(lambda: {r for r in indices if self.digests_by(r)} == {*indices}, limit_s=9)
        self.swarm.run(lambda: False, limit_s=0.05)
        for index in indices:
            self.swarm.kill(index)

    def digests_by(self, index):
        of = self.swarm.peer(index)
        return {
            receiver for _, receiver, f in self.crossed if isinstance(f.message, Digest) and f.sender == of
        }

    def packs(self):
        """Return (sender, digests in it) of every pack, once."""
        found = {f.id: f for _, _, f in self.crossed if isinstance(f.message, DigestPack)}
        return [(self.swarm.index(f.sender), len(f.message.digests)) for f in found.values()]

    def listed(self):
        record = next(iter(self.swarm.cores.values())).round_record()
        return {self.swarm.index(entry.peer) for entry in record.base.plan.entries if entry.listed}


def test_a_digest_without_a_sketch_goes_to_three_and_the_leader_hands_out_all():
    crowd = Crowd()

    assert crowd.reaches(2)

    few = set(crowd.ranked[:3])
    assert [crowd.digests_by(index) for index in range(7)] == [few - {index} for index in range(7)]
    assert crowd.packs() == [(crowd.ranked[0], 7)]
    assert crowd.listed() == set(range(7))
    assert not crowd.swarm.rejects


def test_the_second_collector_packs_when_the_leader_dies():
    crowd = Crowd()
    crowd.kill_once_digests_are_out(crowd.ranked[0])

    assert crowd.reaches(2)

    assert crowd.packs()[0] == (crowd.ranked[1], 7)
    assert crowd.listed() == set(range(7))


def test_without_any_collector_everybody_says_its_digest_to_all():
    crowd = Crowd()
    crowd.kill_once_digests_are_out(*crowd.ranked[:3])

    assert crowd.reaches(2)

    assert crowd.packs() == []
    assert all(crowd.digests_by(index) >= set(crowd.ranked[3:]) for index in crowd.ranked[3:])
    assert {e.mode for _, e in crowd.swarm.of(events.Certified) if e.round == 2} == {0}


def test_who_misses_the_pack_asks_for_what_the_plan_lists():
    crowd = Crowd(lose=lambda frame, receiver: receiver == 0 and isinstance(frame.message, DigestPack))

    assert crowd.reaches(3)

    assert crowd.listed() == set(range(7))


def test_in_a_crowd_a_silent_peer_says_half_as_often_that_it_is_there():
    crowd = Crowd()
    crowd.swarm.training = lambda index: 20 * SECOND
    crowd.swarm.run(lambda: False, limit_s=19)

    of = crowd.swarm.peer(0)
    at = [now for now, to, f in crowd.crossed if to == 1 and f.sender == of and isinstance(f.message, Ping)]
    assert [round((b - a) / SECOND, 2) for a, b in itertools.pairwise(at[:3])] == [4.0, 4.0]


def test_a_digest_in_a_pack_keeps_its_author_in_sight():
    crowd = Crowd()
    assert crowd.reaches(2)
    leader = crowd.ranked[0]
    others = crowd.swarm.cores[leader]._membership
    first = next(now for now, _, f in crowd.crossed if isinstance(f.message, DigestPack))

    hearer = next(index for index in range(7) if index not in crowd.ranked[:3])
    author = next(index for index in range(7) if index not in (hearer, *crowd.ranked[:3]))
    seen = crowd.swarm.cores[hearer]._membership.sighting(crowd.swarm.peer(author))

    assert others.sighting(crowd.swarm.peer(author)) is not None
    assert seen.at >= first - 100_000


def test_a_pack_that_somebody_sends_again_speaks_for_nobody_twice():
    crowd = Crowd()
    hearer = next(index for index in range(7) if index not in crowd.ranked[:3])

    def packs():
        return [f for _, to, f in crowd.crossed if to == hearer and isinstance(f.message, DigestPack)]

    assert crowd.swarm.run(packs, limit_s=60)
    crowd.swarm.run(lambda: False, limit_s=0.02)
    agreement = crowd.swarm.cores[hearer]._round.agreement
    told_at = agreement.packing.told_at
    sightings = agreement.s.membership
    others = [crowd.swarm.peer(index) for index in range(7) if index != hearer]
    seen = [sightings.sighting(peer).at for peer in others]
    assert told_at > 0

    for frame in packs():
        assert agreement.take(frame, told_at + 9 * SECOND) == []

    assert agreement.packing.told_at == told_at
    assert [sightings.sighting(peer).at for peer in others] == seen


def test_a_pack_of_a_peer_that_does_not_collect_is_refused():
    crowd = Crowd()
    assert crowd.reaches(2)
    base = crowd.swarm.cores[0].round_record().base
    collectors = {*rank(base.electorate, base.id)[:3]}
    agreement = crowd.swarm.cores[0]._round.agreement
    pack = next(f for _, _, f in crowd.crossed if isinstance(f.message, DigestPack))

    other = next(peer for peer in base.electorate if peer not in collectors)
    effects = agreement.take(replace(pack, sender=other), crowd.swarm.now)

    assert [effect.reason for effect in effects] == ["packs digests and does not collect them"]


def test_a_pack_with_a_digest_that_nobody_signed_is_refused_as_a_whole():
    crowd = Crowd()
    assert crowd.reaches(2)
    pack = next(f.message for _, _, f in crowd.crossed if isinstance(f.message, DigestPack))
    sealer = FrameSealer(PretendedIdentity(8), crowd.swarm.charter, 1, PretendedVerifier())
    assert len(packing.unpacked(pack, crowd.swarm.charter, sealer)) == 7

    forged = structs.replace(pack.digests[3], weight=0)
    message = structs.replace(pack, digests=(*pack.digests[:3], forged, *pack.digests[4:]))

    assert packing.unpacked(message, crowd.swarm.charter, sealer) is None


def test_a_late_pack_takes_nobody_back_who_has_moved_on():
    crowd = Crowd()
    swarm = crowd.swarm
    hearer, mover, other = [index for index in range(7) if index not in crowd.ranked[:3]][:3]
    crowd.lose = lambda frame, receiver: receiver == hearer and isinstance(frame.message, DigestPack)
    assert swarm.run(crowd.packs, limit_s=60)
    pack = next(f for _, _, f in crowd.crossed if isinstance(f.message, DigestPack))
    members = swarm.cores[hearer]._membership

    swarm.give(hearer, events.Received(swarm.cores[mover]._sealer.seal(Ping(b"n" * 32))))
    before = members.sighting(swarm.peer(other)).at
    swarm.give(hearer, events.Received(pack))

    assert members.sighting(swarm.peer(mover)).base == b"n" * 32
    assert members.sighting(swarm.peer(other)).base == pack.message.base
    assert members.sighting(swarm.peer(other)).at > before


def test_a_pack_for_a_base_that_is_not_known_yet_is_not_kept():
    crowd = Crowd()
    assert crowd.reaches(2)
    core = crowd.swarm.cores[0]
    pack = next(f for _, _, f in crowd.crossed if isinstance(f.message, DigestPack))
    message = structs.replace(pack.message, base=b"n" * 32)

    crowd.swarm.give(0, events.Received(replace(pack, id=b"i" * 32, message=message)))

    assert not core._catchup._parked


@pytest.mark.parametrize("small", [{0, 2, 4}, {1, 3, 5, 6}, {6}])
def test_peers_that_do_not_agree_on_what_a_crowd_is_agree_on_all_else(small):
    crowd = Crowd(bound=lambda index: 64 if index in small else 4)

    assert crowd.reaches(4)

    assert crowd.listed() == set(range(7))
    assert {e.mode for _, e in crowd.swarm.of(events.Certified) if e.round > 0} == {0}
    assert all(event.applied for _, event in crowd.swarm.of(events.RoundFinished))


def test_a_small_swarm_packs_nothing():
    crowd = Crowd(bound=lambda index: 7)

    assert crowd.reaches(2)

    assert crowd.packs() == []
    assert all(crowd.digests_by(index) == set(range(7)) for index in range(7))


def test_the_mean_of_a_large_group_crosses_with_numbers_for_ids():
    crowd = Crowd(count=10)

    assert crowd.reaches(2)
    crowd.swarm.run(lambda: False, limit_s=2)

    means = [m for _, m in crowd.swarm.sent if isinstance(m, Mean) and len(m.included) == 10]
    short = [f.message for _, _, f in crowd.crossed if isinstance(f.message, ShortMean)]
    long = [f.message for _, _, f in crowd.crossed if isinstance(f.message, Mean)]
    assert means
    assert (b"\xff\x03", 10) in {(mean.included, mean.weight) for mean in short}
    assert all(len(mean.included) <= 8 for mean in long)
    assert not crowd.swarm.rejects
