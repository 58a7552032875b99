"""Peers that lie: what a device does that somebody else has taken over, as far as its key reaches.

A liar runs an honest core, so that it is elected, trusted and listened to; `Liar` stands between that core
and the network. It says second contents for one thing (digest, pack, proposal, vote, skip) to half of the
swarm, repeats old frames, keeps things from some, and adds frames of its own (`forgeries`). It signs with
its own key or with keys it invents, never with those of others: pretended signatures could be forged, real
ones could not. What it says is entered in the evidence, because honest peers may build on it: a digest of a
liar that is listed counts as any other.

Limits: it lies alone (liars do not conspire), and not about models: not about the content of means it was
elected to make, nor does it name an upload of its own that it does not hold.
"""

import random
from collections import deque
from typing import TYPE_CHECKING

from msgspec import structs

from swarmdem.errors import WireError
from swarmdem.identifiers import FrameId, PeerId, PlanId
from swarmdem.protocol.events import Publish
from swarmdem.protocol.plans import make_plan
from swarmdem.simulation.faults import Fault, Kind
from swarmdem.simulation.forgeries import Forger
from swarmdem.wire import codec
from swarmdem.wire.frame import Frame
from swarmdem.wire.messages import FOUNDING, Digest, Message, Proposal, Skip, Vote
from swarmdem.wire.shortened import DigestPack

if TYPE_CHECKING:
    from swarmdem.simulation.peer import SimulatedPeer
    from swarmdem.simulation.world import World

HEARD_MAX = 64
"""Frames of others a liar can repeat."""
REPLAYS = 0.3
"""Share of its own frames after which it repeats an old one."""
FORGERIES = 0.5
"""Share of its own frames after which it adds one that no honest peer would send."""


class Liar:
    """The part of one peer that lies."""

    def __init__(self, world: "World", peer: "SimulatedPeer") -> None:
        self._world = world
        self._peer = peer
        self._rng = random.Random(f"liar {world.seed} {peer.index}")
        self._lies: list[Fault] = []
        self._heard: deque[Frame] = deque(maxlen=HEARD_MAX)
        self._digests: deque[Frame] = deque(maxlen=4 * HEARD_MAX)
        self._untold: frozenset[int] = frozenset()
        self._forger = Forger(world.charter, self._rng)

    # What the world tells it

    def begin(self, fault: Fault) -> None:
        """Start to lie in one way."""
        self._lies.append(fault)
        if fault.kind is Kind.SILENCE:
            others = [other.index for other in self._world.peers if other is not self._peer]
            self._untold = frozenset(self._rng.sample(others, int(fault.amount * len(others))))

    def end(self, fault: Fault) -> None:
        """Stop to lie in one way."""
        if fault in self._lies:
            self._lies.remove(fault)
        if fault.kind is Kind.SILENCE:
            self._untold = frozenset()

    def hear(self, frame: Frame) -> None:
        """Remember what it may use."""
        if self._lies:
            self._heard.append(frame)
            if isinstance(frame.message, Digest):
                self._digests.append(frame)

    def speaks_to(self, receiver: PeerId) -> bool:
        """Say whether it tells *receiver* what is meant for it alone."""
        other = self._world.by_id.get(receiver)
        return other is None or other.index not in self._untold

    # What it makes of what its core wants to say

    def publish(self, effect: Publish) -> None:
        """Say what its core wants said, or something else, or more."""
        frame, world, peer = effect.frame, self._world, self._peer
        kinds = {fault.kind for fault in self._lies}
        everybody = frozenset(range(len(world.peers)))
        other = self._second(frame.message) if Kind.EQUIVOCATE in kinds else None
        if other is not None:
            half = frozenset(self._rng.sample(sorted(everybody), len(everybody) // 2)) - {peer.index}
            self._whisper(frame, everybody - half)
            self._say(other, half if self._rng.random() < 0.7 else everybody)
        elif self._untold:
            self._whisper(frame, everybody - self._untold)
        else:
            world.publish(peer, effect.crossing, retain=effect.retain)
        if Kind.REPLAY in kinds and self._heard and self._rng.random() < REPLAYS:
            world.inject(peer, self._rng.choice(self._heard).raw)
        if Kind.FORGE in kinds and self._rng.random() < FORGERIES:
            self._forge(frame)

    def _whisper(self, frame: Frame, receivers: frozenset[int]) -> None:
        """Tell some what is meant for all, as a broker of its own could."""
        for index in sorted(receivers):
            self._world.send(self._peer, self._world.peers[index].id, frame)

    def _say(self, message: Message, receivers: frozenset[int]) -> None:
        assert self._peer.sealer is not None
        frame = self._peer.sealer.seal(message)
        self._world.checkers.evidence.believe(self._peer.id, frame)
        self._whisper(frame, receivers)

    def _forge(self, frame: Frame) -> None:
        peer = self._peer
        assert peer.sealer is not None
        invents = any(fault.kind is Kind.FORGE and fault.amount for fault in self._lies)
        heard = tuple(self._heard)
        raw = self._forger.forge(peer.identity, peer.sealer.session, frame, heard, invents=invents)
        self._world.inject(peer, raw)

    # Second contents

    def _second(self, message: Message) -> Message | None:
        """Return another content for the same thing; None when it has none for it."""
        match message:
            case Digest() if message.model:
                sketch = bytes((b ^ 1) if b != 0x81 else b for b in message.sketch)
                return structs.replace(message, sketch=sketch)
            case Vote():
                return structs.replace(message, plan=self._another_plan(message))
            case Skip() if message.voted_term >= 0:
                return structs.replace(message, voted_term=-1, voted_plan=b"")
            case Proposal():
                return self._another_proposal(message)
            case DigestPack() if len(message.digests) > 1:
                left_out = self._rng.choice(message.digests)
                return structs.replace(message, digests=tuple(d for d in message.digests if d != left_out))
            case _:
                return None

    def _another_plan(self, vote: Vote) -> bytes:
        """Return another plan on the table: a vote for one that nobody proposed would count for nothing."""
        named = {
            codec.plan_id(frame.message.plan)
            for frame in self._heard
            if isinstance(frame.message, Proposal) and frame.message.term == vote.term
        }
        others = sorted(named - {vote.plan})
        return self._rng.choice(others) if others else self._rng.randbytes(32)

    def _another_proposal(self, proposal: Proposal) -> Proposal | None:
        """Return a proposal of the same term that is valid too: it leaves one peer out."""
        try:
            plan = codec.decode_plan(proposal.plan)
        except WireError:
            return None
        known = self._world.checkers.evidence.plans.get(PlanId(plan.base))
        held = {frame.id: frame for frame in self._digests}
        listed = {e.peer: held[FrameId(e.digest)] for e in plan.entries if FrameId(e.digest) in held}
        if known is None or plan.mode == FOUNDING or proposal.term or len(listed) < 2:
            return None
        listed.pop(self._rng.choice(sorted(listed)))
        other = make_plan(self._world.charter, known.base, plan.mode, listed, reference=plan.reference)
        return Proposal(plan.mode, proposal.term, codec.encode_plan(other), proposal.skips)
