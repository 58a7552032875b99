"""What plans carry in `ext`: the clock of the schedules, the standing of peers, the reference's sketch."""

import pytest
from hypothesis import given, strategies as st

from swarmdem.errors import MalformedFrameError
from swarmdem.protocol.placement import Standing
from swarmdem.protocol.state import (
    ScheduleClock,
    State,
    digest_ext,
    loss_of,
    pack_sketch,
    read_state,
    state_ext,
    state_refusal,
    unpack_sketch,
)
from swarmdem.wire import codec, messages as m
from swarmdem.wire.charter import Charter
from tests.wire import samples

PLAIN = Charter(swarm="s", digest=16)
DRIFT = Charter(swarm="s", digest=16, drift=3)
STANDING = Charter(swarm="s", digest=16, outliers=3)
COSINE = Charter(swarm="s", digest=16, metric="cosine")
SKETCH = pack_sketch(0.5, bytes(30) + b"\xff\x7f")


def play(losses, *, drift, first_round=1):
    """Return the clock after plans of consecutive rounds, each with one loss (or a list of them)."""
    clock = None
    for number, loss in enumerate(losses, first_round):
        reported = loss if isinstance(loss, list) else [loss]
        clock = (
            ScheduleClock.first(reported)
            if clock is None
            else clock.after(reported, number=number, drift=drift)
        )
    return clock


def test_the_clock_begins_at_zero_and_moves_on_by_one_a_plan():
    assert [play([900] * count, drift=3).tick for count in (1, 2, 3, 9)] == [0, 1, 2, 8]


def test_a_loss_that_stays_risen_sets_the_clock_back_to_half_and_becomes_the_new_value():
    before = play([1000] * 9 + [1200, 1200], drift=3)
    after = play([1000] * 9 + [1200, 1200, 1300], drift=3)

    assert before == ScheduleClock(tick=10, streak=2, loss=1000)
    assert after == ScheduleClock(tick=5, streak=0, loss=1300)


def test_the_clock_goes_on_from_where_it_was_set_back_to():
    assert play([1000] * 9 + [1200, 1200, 1300, 1300], drift=3) == ScheduleClock(6, 0, 1300)


def test_one_loss_that_is_not_risen_ends_the_row():
    assert play([1000] * 9 + [1200, 1200, 1000, 1200, 1200], drift=3) == ScheduleClock(13, 2, 1000)


@pytest.mark.parametrize(("loss", "streak"), [(1105, 0), (1106, 1)])
def test_a_loss_is_risen_above_a_tenth_and_five_thousandths(loss, streak):
    assert play([1000] * 5 + [loss], drift=2).streak == streak


def test_no_rise_counts_before_the_fourth_round():
    assert play([100, 1000, 3000], drift=1) == ScheduleClock(2, 0, 3000)
    assert play([100, 1000, 1000, 3000], drift=1) == ScheduleClock(1, 0, 3000)


def test_the_value_takes_in_a_quarter_of_every_loss_that_is_not_risen():
    assert play([1000, 1000, 1000, 600], drift=3).loss == 900


def test_the_loss_of_a_plan_is_the_lower_median_so_that_a_minority_cannot_move_it():
    liars = [2**32 - 1, 2**32 - 1]

    assert play([[1000, 1000, 1000, *liars]] * 20, drift=1) == ScheduleClock(19, 0, 1000)
    assert ScheduleClock.first([7, 9, 5, 8]).loss == 7


def test_plans_without_a_loss_leave_value_and_row_as_they_are():
    assert play([1000] * 5 + [1200, []], drift=3) == ScheduleClock(6, 1, 1000)
    assert play([[], [], 1000], drift=3) == ScheduleClock(2, 0, 1000)


def test_a_plateau_that_scatters_by_three_per_cent_never_sets_the_clock_back():
    """
    Scatter of a fixed generator (x -> 16807 x mod 2^31 - 1), 300 rounds, drift after a single risen loss.
    """
    draw, losses = 1, []
    for _ in range(300):
        draw = draw * 16_807 % (2**31 - 1)
        losses.append(970 + draw % 61)

    assert play(losses, drift=1).tick == 299


def test_a_loss_that_falls_and_levels_off_never_sets_the_clock_back():
    assert play([30 + 2000 // (1 + number) for number in range(200)], drift=1).tick == 199


def test_small_losses_rounded_to_thousandths_do_not_count_as_risen():
    assert play([3, 5, 4, 6, 3, 7, 5, 8] * 10, drift=1).tick == 79


def test_a_clock_is_nine_bytes():
    assert ScheduleClock(6, 2, 1152).pack().hex() == "000000060200000480"
    assert ScheduleClock.unpack(bytes.fromhex("000000060200000480")) == ScheduleClock(6, 2, 1152)
    assert ScheduleClock(2**32 - 1, 0, 5).after([], number=9, drift=1).tick == 2**32 - 1


@pytest.mark.parametrize(
    ("loss", "ext"), [(0, ()), (1250, ((2, b"\0\0\x04\xe2"),)), (2**40, ((2, b"\xff" * 4),))]
)
def test_a_digest_reports_its_loss_in_four_bytes_or_not_at_all(loss, ext):
    assert digest_ext(loss) == ext


@pytest.mark.parametrize(
    ("ext", "loss"),
    [((), None), (((2, b"\0\0\x04\xe2"),), 1250), (((2, bytes(4)),), None), (((2, b"\x04\xe2"),), None)],
)
def test_a_loss_of_another_form_counts_as_not_reported(ext, loss):
    digest = m.Digest(bytes(32), 1, m.PARAMETERS, 0, bytes(32), 1, bytes(32), 9, 0, 0, 1.0, b"\0" * 16, ext)

    assert loss_of(digest) == loss


def test_a_reference_sketch_is_scale_and_buckets_little_endian():
    content = pack_sketch(0.5, b"\x01\x00\xff\xff")

    assert content.hex() == "0000003f0100ffff"
    assert unpack_sketch(content) == (0.5, (1, -1))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        bytes(4),
        bytes(7),
        pack_sketch(float("nan"), bytes(2)),
        pack_sketch(-1.0, bytes(2)),
        pack_sketch(1.0, b"\0\x80"),
    ],
    ids=["nothing", "no bucket", "half a bucket", "nan", "negative scale", "-32768"],
)
def test_what_is_no_sketch_of_a_reference_is_refused(content):
    with pytest.raises(MalformedFrameError):
        unpack_sketch(content)


LISTED = tuple(e.peer for e in samples.PLAN.entries if e.listed)
PLACES = {
    LISTED[0]: Standing(depth=1, streak=2, apart=False),
    LISTED[1]: Standing(depth=255, streak=3, apart=True),
}


@pytest.mark.parametrize(
    ("charter", "state"),
    [
        (PLAIN, State()),
        (DRIFT, State(clock=ScheduleClock(6, 2, 1152))),
        (STANDING, State(standing=PLACES)),
        (COSINE, State(sketch=SKETCH)),
    ],
    ids=["plain", "drift", "outliers", "cosine"],
)
def test_a_plan_gives_back_the_state_written_into_it(charter, state):
    plan = replace_ext(state_ext(charter, state, LISTED, m.NORMAL))

    assert read_state(codec.decode_plan(codec.encode_plan(plan))) == state
    assert state_refusal(charter, plan) == ""
    assert (plan.ext == ()) == (charter == PLAIN)


def replace_ext(ext, **changes):
    values = {name: getattr(samples.PLAN, name) for name in m.Plan.__struct_fields__}
    return m.Plan(**{**values, "ext": ext, **changes})


FOUNDING = replace_ext((), mode=m.FOUNDING, round=0, groups=(), entries=())
MISFITS = {
    "a clock nobody asked for": (PLAIN, ((1, bytes(9)),), "a clock exactly"),
    "no clock under drift": (DRIFT, (), "a clock exactly"),
    "a short clock": (DRIFT, ((1, bytes(8)),), "clock of 8 bytes"),
    "standing nobody asked for": (PLAIN, ((3, b"\xf0\xf0"),), "the standing of peers exactly"),
    "no standing under outliers": (STANDING, (), "the standing of peers exactly"),
    "standing of too few": (STANDING, ((3, b"\xf0"),), "standing of 1 peers, 2 are listed"),
    "a bit that stands for nothing": (STANDING, ((3, b"\xf0\xf1"),), "ext"),
    "a sketch nobody asked for": (PLAIN, ((5, SKETCH),), "a sketch of the reference exactly"),
    "no sketch under cosine": (COSINE, (), "a sketch of the reference exactly"),
    "an empty sketch": (COSINE, ((5, b""),), "a sketch of the reference exactly"),
    "a sketch of other length": (COSINE, ((5, SKETCH + bytes(2)),), "a sketch of the reference exactly"),
    "a sketch of half a bucket": (COSINE, ((5, SKETCH[:-1]),), "sketch of 35 bytes"),
}


@pytest.mark.parametrize(("charter", "ext", "why"), MISFITS.values(), ids=MISFITS.keys())
def test_a_state_that_is_not_of_this_swarm_is_refused(charter, ext, why):
    assert why in state_refusal(charter, replace_ext(ext))


def test_a_founding_plan_carries_the_sketch_alone():
    everything = Charter(swarm="s", digest=16, drift=3, outliers=3, metric="cosine")
    plan = replace_ext(
        state_ext(everything, State(sketch=SKETCH), (), m.FOUNDING),
        mode=m.FOUNDING,
        round=0,
        groups=(),
        entries=(),
    )

    assert plan.ext == ((5, SKETCH),)
    assert state_refusal(everything, plan) == ""
    assert "a sketch" in state_refusal(everything, FOUNDING)


@given(st.lists(st.tuples(st.sampled_from([1, 3, 5]), st.binary(max_size=40)), max_size=3))
def test_any_content_is_read_or_refused_and_never_raises_anything_else(entries):
    plan = replace_ext(tuple(sorted(dict(entries).items())))

    for charter in (PLAIN, DRIFT, STANDING, COSINE):
        assert isinstance(state_refusal(charter, plan), str)
