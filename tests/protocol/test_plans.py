"""What a plan says follows from its base and its digests: trees that are kept, clocks, standing, sketches."""

import struct
from dataclasses import dataclass, field, replace

import msgspec
import pytest
from hypothesis import given, settings, strategies as st

from swarmdem.identifiers import PeerId
from swarmdem.protocol import hierarchy
from swarmdem.protocol.clock import ConnectedClock
from swarmdem.protocol.membership import Membership
from swarmdem.protocol.placement import Standing
from swarmdem.protocol.plans import (
    Base,
    base_of,
    digest_refusal,
    founding_base,
    make_plan,
    plan_time,
    set_back,
    time_of,
)
from swarmdem.protocol.proposals import plan_refusal
from swarmdem.protocol.situation import Situation
from swarmdem.protocol.state import (
    ScheduleClock,
    State,
    digest_ext,
    pack_sketch,
    state_refusal,
    wants_standing,
)
from swarmdem.simulation.signatures import PretendedIdentity, PretendedVerifier
from swarmdem.wire import codec
from swarmdem.wire.charter import Charter
from swarmdem.wire.codec import FrameSealer
from swarmdem.wire.frame import Frame
from swarmdem.wire.messages import (
    FOUNDING,
    NORMAL,
    PARAMETERS,
    PRESENCE,
    UPDATES,
    Certificate,
    Digest,
    Plan,
)

GENESIS = b"g" * 32
SKETCH = pack_sketch(1.0, bytes(32))
EAST, WEST = b"\x64" * 16, b"\x9c" * 16
"""Sketches (100 and -100 in each bucket) of two kinds of peers."""
LIKE_EAST, LIKE_WEST = b"\x5a" * 16, b"\xa6" * 16


@dataclass
class Chain:
    """A swarm's plans one after another, each made from digests that a test gives."""

    charter: Charter
    base: Base = field(init=False)
    plans: list[Plan] = field(default_factory=list)

    def __post_init__(self):
        self.base = founding_base(self.charter)
        self.sealers = {
            index: FrameSealer(PretendedIdentity(index), self.charter, 1, PretendedVerifier())
            for index in range(9)
        }

    def peer(self, index: int) -> PeerId:
        return PretendedIdentity(index).peer

    def digest(self, index: int, sketch: bytes, **changes) -> Frame:
        base = self.base
        kind = UPDATES if self.charter.basis == "updates" else PARAMETERS
        values = {
            "base": base.id, "round": base.round + 1, "kind": kind, "seed": base.seed,
            "reference": base.reference, "weight": 1, "model": bytes([index]) * 32,
            "model_bytes": 100, "age": 0, "training_ms": 5, "scale": 1.0, "sketch": sketch,
        }  # fmt: skip
        return self.sealers[index].seal(Digest(**{**values, **changes}))

    def found(self, *indices: int) -> "Chain":
        nothing = {
            "kind": PRESENCE,
            "round": 1,
            "reference": b"",
            "weight": 0,
            "model": b"",
            "model_bytes": 0,
        }
        frames = [self.digest(i, b"", scale=0.0, **nothing) for i in indices]
        sketch = SKETCH if self.charter.metric == "cosine" else b""
        self.adopt(self.make(frames, FOUNDING, reference=GENESIS, sketch=sketch))
        return self

    def make(self, frames, mode=NORMAL, *, reference=b"", sketch=b"") -> Plan:
        listed = {frame.sender: frame for frame in frames}
        return make_plan(
            self.charter, self.base, mode, listed, reference=reference or self.base.reference, sketch=sketch
        )

    def adopt(self, plan: Plan) -> Plan:
        body = codec.encode_plan(plan)
        self.base = base_of(Certificate(body, 0, ()), codec.decode_plan(body))
        self.plans.append(plan)
        return plan

    def go(self, sketches: dict[int, bytes], **changes) -> Plan:
        return self.adopt(self.make([self.digest(i, s, **changes) for i, s in sketches.items()]))

    def groups(self) -> set[frozenset[int]]:
        """Return the leaf groups of the newest tree, as peers by index."""
        index = {self.peer(i): i for i in self.sealers}
        tree = self.base.hierarchy
        assert tree is not None
        return {frozenset(index[p] for p in group.leaves) for group in tree.groups if group.leaves}


def chain(**settings) -> Chain:
    return Chain(Charter(**{"swarm": "test", "digest": 16, "levels": 1, **settings})).found(0, 1, 2, 3)


SORTED = {0: EAST, 1: LIKE_EAST, 2: WEST, 3: LIKE_WEST}
SWAPPED = {0: EAST, 1: WEST, 2: LIKE_EAST, 3: LIKE_WEST}


def test_a_plain_plan_has_no_ext_no_bonus_and_a_tree_for_itself_alone():
    swarm = chain()

    plan = swarm.go(SORTED)

    assert (plan.round, plan.hysteresis, plan.tau, plan.ext) == (1, 0, 1, ())
    assert swarm.groups() == {frozenset({0, 1}), frozenset({2, 3})}


def test_a_tree_is_kept_for_tau_plans_and_then_made_anew():
    swarm = chain(tau=3)

    for sketches in (SORTED, SWAPPED, SWAPPED):
        swarm.go(sketches)
        assert swarm.groups() == {frozenset({0, 1}), frozenset({2, 3})}
    swarm.go(SWAPPED)

    assert swarm.groups() == {frozenset({0, 2}), frozenset({1, 3})}
    assert [plan.tau for plan in swarm.plans] == [1, 3, 2, 1, 3]


def test_a_kept_tree_loses_who_left_and_hangs_who_came_under_the_root():
    """
    Peer 1 leaves: the group of 0 joins nobody any more and goes. Peer 4 comes.
    """
    swarm = chain(tau=2)
    swarm.go(SORTED)
    before = {group.id for group in swarm.base.hierarchy.groups}

    swarm.go({0: EAST, 2: WEST, 3: LIKE_WEST, 4: EAST})

    assert swarm.groups() == {frozenset({0, 4}), frozenset({2, 3})}
    tree = swarm.base.hierarchy
    assert set(tree.root.leaves) == {swarm.peer(0), swarm.peer(4)}
    assert {group.id for group in tree.groups} < before


def test_tau_and_hysteresis_follow_their_tables_by_round():
    swarm = chain(schedules=(("tau", (1.0, 2.0)),), hysteresis=(10, 20, 30))

    for _ in range(5):
        swarm.go(SORTED)

    assert [(plan.round, plan.hysteresis, plan.tau) for plan in swarm.plans[1:]] == [
        (1, 10, 1),
        (2, 20, 2),
        (3, 20, 1),
        (4, 30, 2),
        (5, 30, 1),
    ]


def test_a_bonus_keeps_neighbours_together_that_differ_by_little():
    """
    Corners of a rectangle: neighbours are 100 apart in one direction, strangers 90 in the other.
    """
    low, far, near = bytes(8), b"\x64" * 8, b"\x5a" * 8
    middle = {0: low + low, 1: far + low, 2: far + near, 3: low + near}
    plain, sticky = chain(), chain(hysteresis=(0, 77))

    for swarm in (plain, sticky):
        swarm.go(SORTED)
        swarm.go(middle)

    assert plain.groups() == {frozenset({0, 3}), frozenset({1, 2})}
    assert sticky.groups() == {frozenset({0, 1}), frozenset({2, 3})}


def test_without_drift_the_tick_is_the_rounds_number_less_one():
    swarm = chain()
    assert (plan_time(swarm.charter, swarm.base), time_of(swarm.charter, swarm.base)) == (0, 0)

    swarm.go(SORTED)
    swarm.go(SORTED)

    assert (plan_time(swarm.charter, swarm.base), time_of(swarm.charter, swarm.base)) == (1, 2)


def test_a_digest_whose_round_leaps_does_not_move_the_schedules():
    swarm = chain(schedules=(("mixing", (0.9, 0.8, 0.6)),))
    swarm.go(SORTED)
    frames = [swarm.digest(i, sketch, round=2**20 if i == 3 else 2) for i, sketch in SORTED.items()]
    plan = swarm.adopt(swarm.make(frames))

    assert plan.round == 2**20
    assert (plan_time(swarm.charter, swarm.base), time_of(swarm.charter, swarm.base)) == (1, 2)
    assert [plan.ext for plan in swarm.plans[1:]] == [((1, bytes(9)),), ((1, b"\0\0\0\1" + bytes(5)),)]


def test_drift_moves_the_clock_of_the_plan_and_of_the_training_that_follows():
    swarm = chain(drift=2)
    assert time_of(swarm.charter, swarm.base) == 0

    for loss in [800] * 6 + [1000]:
        swarm.go(SORTED, ext=digest_ext(loss))
    assert swarm.base.state.clock == ScheduleClock(6, 1, 800)
    before = swarm.base
    swarm.go(SORTED, ext=digest_ext(1000))

    assert swarm.base.state.clock == ScheduleClock(3, 0, 1000)
    assert (plan_time(swarm.charter, swarm.base), time_of(swarm.charter, swarm.base)) == (3, 4)
    assert set_back(before, swarm.base)
    assert not set_back(swarm.base, swarm.base)
    assert swarm.plans[-1].ext == ((1, bytes.fromhex("0000000300000003e8")),)


def test_a_clock_set_back_ends_the_keeping_of_the_tree():
    swarm = chain(drift=1, tau=5)
    for _ in range(4):
        swarm.go(SORTED, ext=digest_ext(800))
    assert swarm.plans[-1].tau == 2

    swarm.go(SWAPPED, ext=digest_ext(1600))

    assert swarm.plans[-1].tau == 5
    assert swarm.groups() == {frozenset({0, 2}), frozenset({1, 3})}


def test_a_newcomer_goes_down_one_level_a_certificate_and_the_plans_say_so():
    swarm = chain(newcomers="top")
    swarm.go(SORTED)
    came = {**SORTED, 4: LIKE_EAST}
    depths = []
    for _ in range(2):
        swarm.go(came)
        depths.append(swarm.base.state.standing[swarm.peer(4)])

    assert [standing.depth for standing in depths] == [0, 255]
    assert swarm.groups() == {frozenset({0, 1, 4}), frozenset({2, 3})}
    assert swarm.base.state.standing[swarm.peer(0)] == Standing(255, 0, apart=False)
    assert [len(dict(plan.ext)[3]) for plan in swarm.plans[1:]] == [4, 5, 5]


def test_every_plan_repeats_the_founding_plans_sketch_under_cosine():
    swarm = chain(metric="cosine")
    swarm.go(SORTED)
    swarm.go(SORTED)

    assert [plan.ext for plan in swarm.plans] == [((5, SKETCH),)] * 3


@pytest.mark.parametrize(("basis", "kind"), [("parameters", UPDATES), ("updates", PARAMETERS)])
def test_a_digest_of_the_other_basis_is_not_listed(basis, kind):
    swarm = chain(basis=basis)
    frame = swarm.digest(0, EAST, kind=kind)

    assert digest_refusal(swarm.charter, swarm.base, frame.message) == "digest kind not spoken here"
    assert digest_refusal(swarm.charter, swarm.base, swarm.digest(0, EAST).message) == ""


@pytest.mark.parametrize(
    ("weights", "weight", "refusal"),
    [
        ("agents", 0, ""),
        ("agents", 1, ""),
        ("agents", 2, "a weight of 2 where every agent counts once"),
        ("samples", 2**32 - 1, ""),
    ],
)
def test_no_peer_counts_twice_where_agents_are_counted(weights, weight, refusal):
    swarm = chain(weights=weights)

    assert digest_refusal(swarm.charter, swarm.base, swarm.digest(0, EAST, weight=weight).message) == refusal


def test_updates_are_compared_like_parameters():
    swarm = chain(basis="updates")

    swarm.go(SORTED)

    assert swarm.groups() == {frozenset({0, 1}), frozenset({2, 3})}


EVERYTHING = {"drift": 3, "newcomers": "top", "metric": "cosine", "hysteresis": (5,), "tau": 2}
LIES = {
    "another tick": {"ext": {1: ScheduleClock(9, 0, 700).pack()}},
    "another loss": {"ext": {1: ScheduleClock(0, 0, 701).pack()}},
    "another standing": {"ext": {3: b"\x00" * 4}},
    "another sketch of the reference": {"ext": {5: pack_sketch(2.0, bytes(32))}},
    "another bonus": {"hysteresis": 6},
    "another tau": {"tau": 3},
    "one more entry": {"ext": {8: b"x"}},
}


def judged(swarm: Chain, frames, plan: Plan) -> str:
    clock, members = ConnectedClock(8), Membership(8, 9)
    situation = Situation(swarm.peer(0), swarm.charter, swarm.sealers[0], members, clock, swarm.base)
    return plan_refusal(situation, plan, {frame.sender: frame for frame in frames})


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES.keys())
def test_voters_refuse_a_plan_whose_state_does_not_follow(lie):
    swarm = chain(**EVERYTHING)
    frames = [swarm.digest(i, sketch, ext=digest_ext(700)) for i, sketch in SORTED.items()]
    plan = swarm.make(frames)
    ext = {**dict(plan.ext), **lie.get("ext", {})}
    changed = msgspec.structs.replace(plan, **{**lie, "ext": tuple(sorted(ext.items()))})

    assert judged(swarm, frames, plan) == ""
    assert judged(swarm, frames, changed) == "the plan does not follow from its digests"


def test_a_founding_plans_sketch_is_its_proposers_to_choose():
    swarm = Chain(Charter(swarm="test", digest=16, metric="cosine"))
    presence = {"kind": PRESENCE, "reference": b"", "weight": 0, "model": b"", "model_bytes": 0, "scale": 0.0}
    frames = [swarm.digest(i, b"", **presence) for i in range(3)]

    for sketch in (SKETCH, pack_sketch(2.0, bytes(32))):
        plan = swarm.make(frames, FOUNDING, reference=GENESIS, sketch=sketch)
        assert judged(swarm, frames, plan) == ""


BUCKETS = st.lists(st.integers(-32767, 32767), min_size=16, max_size=16)
SCALES = st.floats(0, 3.4028234663852886e38, width=32, allow_subnormal=False).map(abs)
INT8 = st.lists(st.integers(-127, 127), min_size=16, max_size=16).map(lambda row: struct.pack("16b", *row))
SHAPES = (
    {"metric": "cosine", "outliers": 2},
    {"newcomers": "top", "outliers": 1, "linkage": "ward", "tau": 3},
    {"cut": "maxclust", "cuts": (3.0, 2.0), "levels": 2, "newcomers": "top", "hysteresis": (40,)},
    {"cut": "maxclust", "cuts": (2.0,), "grouping": "complementary", "metric": "cosine", "drift": 1},
    {"cut": "threshold", "cuts": (0.5,), "min_size": 2, "outliers": 3, "metric": "cosine_delta"},
)


@settings(max_examples=30, deadline=None)
@given(st.data(), st.sampled_from(SHAPES))
def test_whatever_base_and_digests_say_a_plan_follows_that_reads_back_as_it_was_made(data, shape):
    """
    State as a lying majority may have certified it, scales and buckets as a liar may publish them.
    """
    swarm = Chain(Charter(**{"swarm": "test", "digest": 16, "levels": 1, **shape})).found(0, 1, 2, 3)
    if swarm.charter.metric == "cosine":
        reference = pack_sketch(data.draw(SCALES), struct.pack("<16h", *data.draw(BUCKETS)))
        swarm.base = replace(swarm.base, state=State(sketch=reference))
    peers = st.lists(st.integers(0, 8), min_size=1, max_size=9, unique=True)
    for _ in range(3):
        frames = [swarm.digest(i, data.draw(INT8), scale=data.draw(SCALES)) for i in data.draw(peers)]
        plan = swarm.make(frames)
        tree = swarm.adopt(plan) and swarm.base.hierarchy
        assert tree is not None
        assert hierarchy.plan_groups(tree) == plan.groups
        assert state_refusal(swarm.charter, plan) == ""
        if wants_standing(swarm.charter):
            places = bytes(b & 0xFE for b in data.draw(st.binary(min_size=len(frames), max_size=len(frames))))
            changed = {**dict(plan.ext), 3: places}
            lied = msgspec.structs.replace(plan, ext=tuple(sorted(changed.items())))
            swarm.adopt(lied)
