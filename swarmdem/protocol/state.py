"""What a plan hands on beside its tree, in its `ext`: clock of the schedules, standing, reference's sketch.

Like the tree it follows from the base and the digests listed, in integers, so voters compute it
again. A plan carries what its charter asks for and nothing else: the clock where it matters (`wants_clock`),
the standing of its listed with `newcomers = top` or `outliers` above 0 (neither while founding: there
is nothing to compare yet), the sketch of the reference with the metric `cosine`.

The clock moves on by 1 a plan. Where a table has more than one value, or drift is watched for, plans
carry it: the round's number would do, but one digest can make that leap. With drift it is set back to
half when the swarm's loss has risen (a pendulum that gets a push). The loss of a plan is the lower
median of those its digests report, in thousandths, so that less than half of the peers cannot move it.
It is held against a running value that takes in a quarter of every new loss. A loss above 1.1 x that
value + 5 is risen: it does not enter the value, and after `drift` risen losses in a row the tick is
halved and the value set to the newest. The plans of rounds 1 to 3 only set the value. The margin keeps
a plateau whose losses scatter by a few per cent from setting the clock back; a rise of less than about
3 % a round is followed and goes unseen.
"""

import struct
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

from swarmdem.errors import MalformedFrameError
from swarmdem.identifiers import PeerId, Round
from swarmdem.protocol.absence import Absence, pack_absent, unpack_absent
from swarmdem.protocol.conduct import Conduct
from swarmdem.protocol.placement import Standing
from swarmdem.wire.charter import Charter
from swarmdem.wire.checks import is_scale
from swarmdem.wire.extensions import ABSENT, CLOCK, CONDUCT, LOSS, PLACEMENT, REFERENCE_SKETCH, entry
from swarmdem.wire.fields import Extensions
from swarmdem.wire.messages import FOUNDING, Digest, Plan

TICK_MAX = LOSS_MAX = 2**32 - 1
"""What four bytes hold."""
SETTLED_FROM: Round = 4
"""First round whose loss is compared: the first rounds of learning scatter."""
MARGIN = 5
"""Thousandths of loss beside the tenth: rounding to thousandths must not look like a rise."""

_CLOCK = struct.Struct(">IBI")


def digest_ext(loss_milli: int) -> Extensions:
    """Return the `ext` of a digest that reports a training loss; nothing when it is 0, not known."""
    if loss_milli <= 0:
        return ()
    return ((LOSS, min(loss_milli, LOSS_MAX).to_bytes(4, "big")),)


def loss_of(digest: Digest) -> int | None:
    """Return the training loss a digest reports, in thousandths; None when it says nothing of use."""
    content = entry(digest.ext, LOSS)
    return (int.from_bytes(content, "big") or None) if content is not None and len(content) == 4 else None


def lower_median(losses: Collection[int]) -> int | None:
    """Return the middle one of *losses*, of two middle ones the lower; None when there are none."""
    return sorted(losses)[(len(losses) - 1) // 2] if losses else None


@dataclass(frozen=True, slots=True)
class ScheduleClock:
    """Where the schedules stand, with drift watched for."""

    tick: int = 0
    """Entry of the tables that holds."""
    streak: int = 0
    """Risen losses in a row."""
    loss: int = 0
    """Running value of the swarm's loss in thousandths; 0 when not known."""

    def after(self, losses: Collection[int], *, number: Round, drift: int) -> "ScheduleClock":
        """Return the clock of the plan of round *number*, whose digests report *losses*.

        Args:
            losses: In thousandths, of the digests that say.
            number: Round of the plan.
            drift: Risen losses in a row that set the clock back (the charter's).
        """
        tick = min(self.tick + 1, TICK_MAX)
        median = lower_median(losses)
        if median is None:
            return ScheduleClock(tick, self.streak, self.loss)
        if number < SETTLED_FROM or not self.loss:
            return ScheduleClock(tick, 0, median)
        if 10 * median <= 11 * self.loss + 10 * MARGIN:
            return ScheduleClock(tick, 0, (3 * self.loss + median) // 4)
        if self.streak + 1 < drift:
            return ScheduleClock(tick, self.streak + 1, self.loss)
        return ScheduleClock(self.tick // 2, 0, median)

    @classmethod
    def first(cls, losses: Collection[int]) -> Self:
        """Return the clock of the first plan after the founding."""
        return cls(loss=lower_median(losses) or 0)

    def pack(self) -> bytes:
        """Return the 9 bytes a plan carries."""
        return _CLOCK.pack(self.tick, self.streak, self.loss)

    @classmethod
    def unpack(cls, content: bytes) -> Self:
        """Return the clock of 9 bytes.

        Raises:
            MalformedFrameError: There are more or fewer.
        """
        if len(content) != _CLOCK.size:
            raise MalformedFrameError(f"Plan.ext: clock of {len(content)} bytes")
        return cls(*_CLOCK.unpack(content))


@dataclass(frozen=True, slots=True)
class State:
    """What one plan carries; what it does not carry is None, or empty."""

    clock: ScheduleClock | None = None
    standing: Mapping[PeerId, Standing] = field(default_factory=dict)
    sketch: bytes = b""
    """Of the reference, as `pack_sketch` gives it."""
    absent: Mapping[PeerId, Absence] = field(default_factory=dict)
    """Who was far from all groups, or apart, and is not listed: missing a certificate clears nobody."""
    conduct: Conduct = field(default_factory=Conduct)
    """What is out of the ordinary about peers and links."""


def pack_sketch(scale: float, sketch: bytes) -> bytes:
    """Return the reference's own sketch as a plan carries it.

    Args:
        scale: Step of the sketch, a float32 value.
        sketch: One little-endian int16 a bucket.
    """
    return struct.pack("<f", scale) + sketch


def unpack_sketch(content: bytes) -> tuple[float, tuple[int, ...]]:
    """Return scale and buckets of a reference's sketch.

    Raises:
        MalformedFrameError: It holds half a bucket, or a number that no sketch has.
    """
    if len(content) < 6 or len(content) % 2:
        raise MalformedFrameError(f"Plan.ext: sketch of {len(content)} bytes")
    scale, *buckets = struct.unpack(f"<f{len(content) // 2 - 2}h", content)
    if not is_scale(scale) or min(buckets) == -(2**15):
        raise MalformedFrameError("Plan.ext: not a sketch of a reference")
    return scale, tuple(buckets)


def wants_clock(charter: Charter) -> bool:
    """Return whether the plans of this swarm say what the schedules' clock shows."""
    tables = (charter.hysteresis, *(table for _, table in charter.schedules))
    return charter.drift > 0 or any(len(table) > 1 for table in tables)


def wants_standing(charter: Charter) -> bool:
    """Return whether the plans of this swarm say who stands where."""
    return charter.newcomers == "top" or charter.outliers > 0


def state_ext(charter: Charter, state: State, listed: Collection[PeerId], mode: int) -> Extensions:
    """Return the `ext` of a plan of *mode* over the *listed* (sorted) that carries *state*."""
    found: list[tuple[int, bytes]] = []
    if state.clock is not None:
        found.append((CLOCK, state.clock.pack()))
    if wants_standing(charter) and mode != FOUNDING:
        found.append((PLACEMENT, b"".join(state.standing[peer].pack() for peer in listed)))
    if state.sketch:
        found.append((REFERENCE_SKETCH, state.sketch))
    if state.absent:
        found.append((ABSENT, pack_absent(state.absent)))
    if conduct := state.conduct.pack(sorted(listed)):
        found.append((CONDUCT, conduct))
    return tuple(found)


def read_state(plan: Plan) -> State:
    """Return what *plan* carries.

    Raises:
        MalformedFrameError: An entry of its `ext` is not what it must be.
    """
    clock, standing = entry(plan.ext, CLOCK), entry(plan.ext, PLACEMENT)
    sketch, conduct = entry(plan.ext, REFERENCE_SKETCH) or b"", entry(plan.ext, CONDUCT)
    if sketch:
        unpack_sketch(sketch)
    listed = [e.peer for e in plan.entries if e.listed]
    return State(
        ScheduleClock.unpack(clock) if clock is not None else None,
        _read_standing(listed, standing) if standing is not None else {},
        sketch,
        _read_absent(plan, entry(plan.ext, ABSENT)),
        Conduct.unpack(conduct, listed) if conduct is not None else Conduct(),
    )


def _read_standing(listed: Sequence[PeerId], content: bytes) -> dict[PeerId, Standing]:
    if len(content) != len(listed):
        raise MalformedFrameError(f"Plan.ext: standing of {len(content)} peers, {len(listed)} are listed")
    return {peer: Standing.unpack(byte) for peer, byte in zip(listed, content, strict=True)}


def _read_absent(plan: Plan, content: bytes | None) -> dict[PeerId, Absence]:
    if content is None:
        return {}
    listed = {e.peer for e in plan.entries if e.listed}
    absent = unpack_absent(content)
    if not listed.isdisjoint(absent):
        raise MalformedFrameError("Plan.ext: a listed peer is called absent")
    return absent


def state_refusal(charter: Charter, plan: Plan) -> str:
    """Return why the state of *plan* cannot be one of this swarm; empty when it can."""
    try:
        state = read_state(plan)
    except MalformedFrameError as error:
        return str(error)
    begun = plan.mode != FOUNDING
    if (state.clock is not None) != (begun and wants_clock(charter)):
        return "a clock exactly where schedules or drift ask for one"
    if (entry(plan.ext, PLACEMENT) is not None) != (begun and wants_standing(charter)):
        return "the standing of peers exactly where the charter asks for it"
    if state.absent and not (begun and charter.outliers):
        return "the standing of absent peers only where peers are set apart"
    buckets = charter.digest if charter.metric == "cosine" else 0
    if len(state.sketch) != (4 + 2 * buckets if buckets else 0):
        return "a sketch of the reference exactly with the metric cosine, one number a bucket"
    return ""
