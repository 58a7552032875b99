"""A peer that did not run for a while judges nobody by what it missed."""

from swarmdem.identifiers import SECOND
from swarmdem.protocol import events
from swarmdem.protocol.watch import Watch
from swarmdem.wire.messages import PROVISIONAL, Skip
from tests.protocol.core_swarm import DELAY, CoreSwarm

PATIENCE = 8 * SECOND


class Stopped:
    """In a core's place while its process is stopped: what arrives waits, as in a socket's buffer."""

    def __init__(self, core):
        self.core = core
        self.waiting = []

    def handle(self, event, now):
        self.waiting.append(event)
        return []

    def next_wakeup(self):
        return None


def test_a_stopped_peer_that_goes_on_neither_skips_nor_founds_a_lineage_of_its_own():
    """As after SIGSTOP and SIGCONT: 60 s pass in one moment; all it missed is still to be read."""
    swarm = CoreSwarm(4)
    swarm.start(*range(4))
    assert swarm.run(lambda: swarm.cores[0].status().round == 2)
    stopped = swarm.cores[3] = Stopped(swarm.cores[3])
    began = swarm.now
    swarm.run(lambda: swarm.now >= began + 60 * SECOND)
    before = len(swarm.sent)

    swarm.cores[3] = stopped.core
    for event in [events.Woke(), *stopped.waiting]:  # a shell's timers ring before its sockets are read
        swarm.give(3, event)
    swarm.run(lambda: swarm.now >= began + 90 * SECOND)

    said = [message for index, message in swarm.sent[before:] if index == 3]
    assert not any(isinstance(message, Skip) for message in said)
    certified = [e for i, e in swarm.of(events.Certified) if i == 3]
    assert not any(event.mode == PROVISIONAL for event in certified)
    rounds = {core.status().round for core in swarm.cores.values()}
    assert max(rounds) - min(rounds) <= 1
    degraded = [e.what for i, e in swarm.of(events.Degraded) if i == 3]
    assert len(degraded) == 1
    assert degraded[0].startswith("this peer stood still for 5")
    assert [e.what for i, e in swarm.of(events.Recovered) if i == 3] == degraded


def test_time_beyond_a_missed_wakeup_is_not_counted_until_a_broadcast_comes_back():
    swarm = CoreSwarm(1)
    swarm.start(0)
    swarm.run(lambda: swarm.cores[0].status().round == 1)
    core = swarm.cores[0]
    due = core.next_wakeup()
    core.handle(events.Woke(), due + PATIENCE)

    assert not core.status().connected


def test_a_wakeup_up_to_an_eighth_of_patience_late_does_not_stop_the_clock():
    watch = Watch(PATIENCE)
    watch.set(1000)

    assert watch.woke(1000 + PATIENCE // 8) == []
    assert watch.health.score == 1


def test_only_frames_of_a_session_prove_presence():
    """Standing frames may be forwarded by anybody: who repeats one must still say that it is there."""
    swarm = CoreSwarm(1)
    swarm.start(0)
    swarm.run(lambda: swarm.cores[0].status().round == 1)
    watch = swarm.cores[0]._watch
    spoke_at = watch.spoke_at
    skip = swarm.cores[0]._sealer.seal(Skip(b"b" * 32, 0, 0, -1, b""))

    watch.sent(skip, swarm.now + DELAY, spoke_at + DELAY)

    assert watch.spoke_at == spoke_at


def test_an_outage_is_told_once_it_has_lasted_for_a_patience_and_says_for_how_long():
    """Under load echoes come late all the time: a short silence is no news for anybody."""
    swarm = CoreSwarm(1)
    swarm.start(0)
    swarm.run(lambda: swarm.cores[0].status().round == 2)
    swarm.lose = lambda frame, receiver: True
    began = swarm.now

    swarm.run(lambda: not swarm.cores[0].status().connected)
    swarm.run(lambda: swarm.now >= began + PATIENCE - SECOND)
    assert swarm.of(events.Degraded) == []

    swarm.run(lambda: bool(swarm.of(events.Degraded)))
    [(_, told)] = swarm.of(events.Degraded)
    assert told.what == "no broker brings back what this peer sends"
    assert 8.0 <= told.lasted_s <= 9.0
    swarm.lose = lambda frame, receiver: False
    assert swarm.run(lambda: bool(swarm.of(events.Recovered)))


def test_a_peer_whose_first_word_never_comes_back_says_so_too():
    """As with a broker that lets it write and not read: nothing else would tell."""
    swarm = CoreSwarm(1)
    swarm.lose = lambda frame, receiver: True
    swarm.start(0)

    assert not swarm.run(lambda: bool(swarm.of(events.Degraded)), limit_s=7.9)
    assert swarm.run(lambda: bool(swarm.of(events.Degraded)), limit_s=2.0)
    [(_, told)] = swarm.of(events.Degraded)
    assert told.what == "no broker brings back what this peer sends"
    assert 8.0 <= told.lasted_s <= 9.0
    swarm.lose = lambda frame, receiver: False
    assert swarm.run(lambda: bool(swarm.of(events.Recovered)), limit_s=2.0)
