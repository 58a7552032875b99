"""The protocol core below the signature: one of three cores is told what mutated frames say.

The other two are honest and its own round goes on all the time: it trains, agrees and updates between the
lies. A lie comes from one of the others' keys, or from a stranger's. Ids that a lie should hit are
written as placeholders in the corpus and become those of the moment.
"""

from dataclasses import dataclass

from swarmdem.errors import MisuseError, WireError
from swarmdem.identifiers import SECOND
from swarmdem.protocol import events
from swarmdem.simulation.signatures import PretendedIdentity, PretendedVerifier
from swarmdem.wire.codec import FrameReader, FrameSealer, decode_body
from swarmdem.wire.messages import KINDS
from tests.protocol.core_swarm import CoreSwarm

BASE, GROUP = b"\xba\x5e" * 16, b"\x6e\x0b" * 8
"""Placeholders: the base that the core stands on, the group that it hangs under."""
HEAD = 3
"""Bytes before a body: sender, kind of message, time that passes afterwards in eighths of a second."""
LIFE = 2_000
"""Lies that one swarm hears."""
EFFECTS_MAX = 256
"""Most that one frame may make a core do."""
SENDERS = (1, 1, 99, 98)
"""One member lies, with a key and in a session that are also an honest peer's, and two strangers do."""
SETTLE_S = 300.0
"""Virtual time in which a swarm must finish another round once the lies have ended."""


@dataclass
class Fired:
    """A swarm and what it has heard since it was made."""

    swarm: CoreSwarm
    sealers: dict[int, FrameSealer]
    heard: list[bytes]


class CoreUnderFire:
    """Feeds inputs to a core; keeps the last ones, so that a finding can be told."""

    def __init__(self) -> None:
        self._fired: Fired | None = None
        self.most_effects = 0

    @property
    def heard(self) -> list[bytes]:
        """All inputs since the swarm was made: what leads to a finding again."""
        return self._fired.heard if self._fired is not None else []

    def __call__(self, data: bytes) -> bool:
        """Tell one lie; return whether it was a well-formed frame.

        Raises:
            AssertionError: The core did more than one frame may make it do.
        """
        fired = self._fired
        if fired is None or len(fired.heard) >= LIFE:
            fired = self._fired = _new()
        fired.heard.append(data)
        kind = KINDS.get(data[1]) if len(data) > HEAD else None
        if kind is None:
            return False
        core = fired.swarm.cores[0]
        status = core.status()
        body = data[HEAD:].replace(BASE, status.base or bytes(32)).replace(GROUP, status.group or bytes(16))
        try:
            frame = fired.sealers[SENDERS[data[0] % len(SENDERS)]].seal(decode_body(kind, body))
        except (WireError, MisuseError):
            return False
        effects = core.handle(events.Received(frame), fired.swarm.now)
        self.most_effects = max(self.most_effects, len(effects))
        assert len(effects) <= EFFECTS_MAX, f"{len(effects)} effects of one frame"
        for effect in effects:
            fired.swarm._perform(0, effect)
        if data[2] & 3 == 0:
            fired.swarm.run(lambda: False, (data[2] >> 2) / 8)
        return True

    def settle(self) -> bool:
        """Return whether the swarm still finishes rounds."""
        if self._fired is None:
            return True
        swarm = self._fired.swarm
        before = {index: core.status().round for index, core in swarm.cores.items()}

        def further() -> bool:
            return all(swarm.cores[index].status().round > number for index, number in before.items())

        return swarm.run(further, SETTLE_S)


def _new() -> Fired:
    swarm = CoreSwarm(3, patience=2.0)
    swarm.training = lambda index: SECOND
    swarm.start(0, 1, 2)
    assert swarm.run(swarm.all_finished(1))
    reader = FrameReader(PretendedVerifier(), capacity=16)
    sealers = {
        index: FrameSealer(PretendedIdentity(index), swarm.charter, 7 if index > 2 else 1, reader=reader)
        for index in SENDERS
    }
    for index in SENDERS:
        swarm.sessions.setdefault(index, 7)
    return Fired(swarm, sealers, [])
