"""What cores carry from one update to the next, and what their digests tell."""

from swarmdem.protocol import events
from swarmdem.wire.messages import PARAMETERS, UPDATES, Digest
from tests.protocol.core_swarm import CoreSwarm


def rounds(count: int, last: int, **settings: object) -> CoreSwarm:
    swarm = CoreSwarm(count, **settings)
    swarm.start(*range(count))
    assert swarm.run(swarm.all_finished(last))
    return swarm


def averaged(swarm: CoreSwarm) -> dict[tuple[int, bytes], events.GroupAveraged]:
    return {(e.round, e.group): e for _, e in swarm.of(events.GroupAveraged)}


def test_a_group_that_lasts_moves_its_mean_from_round_to_round():
    swarm = rounds(5, 4, schedules=(("gamma", (0.5,)),))

    found = averaged(swarm)
    lasting = [key for key in found if (key[0] - 1, key[1]) in found]
    assert len(lasting) >= 3  # the root at least
    for number, group in lasting:
        assert found[number, group].previous == found[number - 1, group].model
        assert found[number, group].time == number - 1
    assert {e.previous for key, e in found.items() if key not in lasting} == {None}


def test_without_gamma_no_mean_is_remembered():
    assert {e.previous for e in averaged(rounds(3, 3)).values()} == {None}


def test_a_peer_started_anew_leads_without_the_last_mean():
    swarm = rounds(1, 2, schedules=(("gamma", (0.5,)),))
    swarm.kill(0)
    swarm.start(0)
    assert swarm.run(swarm.all_finished(5))

    assert [bool(e.previous) for _, e in sorted(averaged(swarm).items())] == [False, True, False, True, True]


def test_a_peer_is_told_of_its_group_once_as_long_as_it_stays_in_it():
    swarm = rounds(5, 4)

    for index in range(5):
        told = [e.group for i, e in swarm.of(events.GroupChanged) if i == index]
        assert len(told) == 1


def test_digests_say_what_they_sketch_and_how_high_the_loss_is():
    for basis, kind in (("parameters", PARAMETERS), ("updates", UPDATES)):
        swarm = CoreSwarm(2, basis=basis)
        swarm.loss = lambda index, number: 1500 + index
        swarm.start(0, 1)
        assert swarm.run(swarm.all_finished(1))

        said = {(i, m.kind, m.ext) for i, m in swarm.sent if isinstance(m, Digest) and m.model}
        assert said == {(i, kind, ((2, (1500 + i).to_bytes(4, "big")),)) for i in (0, 1)}
