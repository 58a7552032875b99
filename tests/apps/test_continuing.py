"""Workers that died: how often they are started again, and how their counters go on."""

from swarmdem.apps import continuing
from swarmdem.apps.continuing import Offsets, Supervisor
from swarmdem.apps.pipes import Counts, Go, Job, PeerRound, Usage

JOBS = [Job(settings={}, devices=(0,), run="run"), Job(settings={}, devices=(1,), run="run")]
GO = Go(charter=b"", brokers=("mqtt://a",), peers=("aa", "bb"))


class Crew:
    def __init__(self):
        self.restarted, self.ordered = [], []

    async def restart(self, number, first):
        self.restarted.append((number, first))
        return 1000 + len(self.restarted)

    def order(self, number, order):
        self.ordered.append((number, order))


async def test_a_worker_is_started_three_times_each_after_twice_the_pause(monkeypatch):
    monkeypatch.setattr(continuing, "PAUSE_S", 0.001)
    crew, pids = Crew(), []
    supervisor = Supervisor(crew, JOBS, GO, pids.append)

    pauses = []
    for _ in range(4):
        pauses.append(supervisor.again(1))
        await supervisor._tasks[1]

    assert pauses == [0.001, 0.002, 0.004, None]
    assert crew.restarted == [(1, JOBS[1])] * 3
    assert pids == [1001, 1002, 1003]
    assert supervisor.again(0) == 0.001, "the other has restarts of its own"
    await supervisor.aclose()
    assert len(crew.restarted) == 3, "none is started after the end"


def test_a_worker_is_let_go_once_it_is_prepared():
    crew = Crew()
    Supervisor(crew, JOBS, GO, print).prepared(1)

    assert crew.ordered == [(1, GO)]


def report(sent, cpu_s):
    return PeerRound(
        peer="aa", round=1, certificate="c", certified=True, applied=True, counts=Counts(bytes_sent=sent),
        usage=Usage(train_cpu_s=cpu_s),
    )  # fmt: skip


def test_counters_go_on_from_where_they_were():
    offsets = Offsets()
    offsets.continued(report(100, 2.0), "worker 0")

    for name in ("aa", "worker 0"):
        offsets.restarted(name)
    first = offsets.continued(report(30, 0.5), "worker 0")
    for name in ("aa", "worker 0"):
        offsets.restarted(name)
    second = offsets.continued(report(7, 0.25), "worker 0")

    assert (first.counts.bytes_sent, first.usage.train_cpu_s) == (130, 2.5)
    assert (second.counts.bytes_sent, second.usage.train_cpu_s) == (137, 2.75)
