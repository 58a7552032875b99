"""A handful of cores in virtual time: no weather, no chance, no faults but the test's own.

Frames take `DELAY` to arrive; models are named, never made. For seeded weather and faults there is
`swarmdem.simulation`; here a test says exactly which frame is lost and who dies when.
"""

import heapq
from collections.abc import Callable
from hashlib import blake2b

from swarmdem.identifiers import MILLISECOND, SECOND, ModelHash, PeerId
from swarmdem.protocol import events
from swarmdem.protocol.core import Core
from swarmdem.protocol.situation import CROWD
from swarmdem.simulation.signatures import PretendedIdentity, PretendedVerifier
from swarmdem.wire.charter import Charter
from swarmdem.wire.codec import FrameSealer
from swarmdem.wire.frame import Frame
from swarmdem.wire.messages import Message

DELAY = 20 * MILLISECOND
TRAINING = 3 * SECOND


def name(*parts: object) -> ModelHash:
    return ModelHash(blake2b(repr(parts).encode(), digest_size=32).digest())


class CoreSwarm:
    """Cores by index; `lose` decides which frames never arrive."""

    def __init__(self, count: int, **settings: object) -> None:
        values = {"swarm": "test", "founders": count, "digest": 16, "patience": 8.0, **settings}
        self.charter = Charter(**values)
        self.now = 0
        self.lose: Callable[[Frame, int], bool] = lambda frame, receiver: False
        self.training: Callable[[int], int] = lambda index: TRAINING
        self.loss: Callable[[int, int], int] = lambda index, round_number: 0
        self.capability: Callable[[int], int] = lambda index: 1
        self.crowd: Callable[[int], int] = lambda index: CROWD
        self.cores: dict[int, Core] = {}
        self.disks: dict[int, dict[str, bytes]] = {}
        self.sessions: dict[int, int] = {}
        self.reports: list[tuple[int, events.Event]] = []
        self.rejects: list[tuple[int, str]] = []
        self.sent: list[tuple[int, Message]] = []
        self.trained: list[tuple[int, events.Train]] = []
        self._queue: list[tuple[int, int, int, int, events.Input]] = []
        self._count = 0
        self._lives: dict[int, int] = {}

    def start(self, *indices: int) -> None:
        for index in indices:
            self.sessions[index] = self.sessions.get(index, 0) + 1
            sealer = FrameSealer(
                PretendedIdentity(index), self.charter, self.sessions[index], PretendedVerifier()
            )
            stored = dict(self.disks.setdefault(index, {}))
            self.cores[index] = Core(
                self.charter,
                sealer,
                stored=stored,
                capability=self.capability(index),
                crowd=self.crowd(index),
            )
            self._lives[index] = self.sessions[index]
            self._push(0, index, events.Started(name("nonce", index, self.sessions[index])[:16]))
            cosine = self.charter.metric == "cosine"
            sketch, scale = (bytes([index, 0]) * self.charter.digest, 0.5) if cosine else (b"", 0.0)
            self._push(0, index, events.ModelOffered(name("first", index), 100, sketch, scale))

    def kill(self, index: int) -> None:
        del self.cores[index]
        self._lives[index] = -1

    def peer(self, index: int) -> PeerId:
        return PretendedIdentity(index).peer

    def index(self, peer: PeerId) -> int:
        return next(i for i in self.sessions if self.peer(i) == peer)

    def _push(self, delay: int, index: int, event: events.Input) -> None:
        self._count += 1
        heapq.heappush(self._queue, (self.now + delay, self._count, index, self._lives[index], event))

    def deliver(self, frame: Frame, *receivers: int) -> None:
        for index in receivers:
            if index in self.cores and not self.lose(frame, index):
                self._push(DELAY, index, events.Received(frame))

    def run(self, until: Callable[[], bool], limit_s: float = 300.0) -> bool:
        """Run until the condition holds; return False if it does not within *limit_s*."""
        end = self.now + round(limit_s * SECOND)
        while not until():
            wake = {i: at for i, core in self.cores.items() if (at := core.next_wakeup()) is not None}
            first = min(wake, key=lambda i: (max(wake[i], self.now), i), default=None)
            queued = self._queue[0][0] if self._queue else end + 1
            due = max(wake[first], self.now) if first is not None else end + 1
            if min(queued, due) > end:
                self.now = end
                return False
            if due < queued:
                self.now = due
                self._handle(first, events.Woke())
            else:
                at, _, index, life, event = heapq.heappop(self._queue)
                self.now = max(self.now, at)
                if self._lives.get(index) == life:
                    self._handle(index, event)
        return True

    def give(self, index: int, event: events.Input) -> None:
        self._handle(index, event)

    def _handle(self, index: int, event: events.Input) -> None:
        for effect in self.cores[index].handle(event, self.now):
            self._perform(index, effect)

    def _perform(self, index: int, effect: events.Effect) -> None:
        match effect:
            case events.Publish(frame):
                self.sent.append((index, frame.message))
                self.deliver(effect.crossing, *sorted(self.cores))
            case events.Send(receiver, frame):
                self.sent.append((index, frame.message))
                self.deliver(frame, self.index(receiver))
            case events.Persist(key, value):
                self.disks[index][key] = value
            case events.Train():
                self.trained.append((index, effect))
                duration = self.training(index)
                sketch = name("sketch", index)[:16].replace(b"\x80", b"\x00")
                model = name("trained", index, effect.base)
                loss = self.loss(index, effect.round)
                trained = events.Trained(effect.base, model, 100, 5, 1.0, sketch, duration, loss)
                self._push(duration, index, trained)
            case events.Fetch(model):
                self._push(DELAY, index, events.Fetched(model))
            case events.FinishMean(plan, group):
                self._push(0, index, events.Averaged(plan, group, name("mean", plan, group), 100))
            case events.Mix(plan, group):
                self._push(0, index, events.Mixed(plan, group, name("mix", plan, group), 100))
            case events.Apply(plan):
                self._push(0, index, events.Applied(plan, name("own", plan, index)))
            case events.Reject(_, reason):
                self.rejects.append((index, reason))
            case events.Report(event):
                self.reports.append((index, event))
            case _:
                pass

    def of(self, kind: type) -> list[tuple[int, events.Event]]:
        return [(index, event) for index, event in self.reports if isinstance(event, kind)]

    def finished(self, round_number: int) -> dict[int, events.RoundFinished]:
        found = self.of(events.RoundFinished)
        return {i: e for i, e in found if e.round == round_number}

    def all_finished(self, round_number: int) -> Callable[[], bool]:
        return lambda: set(self.cores) <= set(self.finished(round_number))

    def bases(self) -> set[bytes | None]:
        return {core.status().base for core in self.cores.values()}
