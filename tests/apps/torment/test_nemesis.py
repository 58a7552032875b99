"""Faults in order and within bounds, with peers and brokers that only note what is done to them."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest

from swarmdem.apps.torment.crew import Seat
from swarmdem.apps.torment.nemesis import Nemesis
from swarmdem.apps.torment.schedule import Planned


@dataclass
class FakeWorld:
    """Crew, network and history in one: everything lands in `done`."""

    seats: list[Seat]
    done: list[tuple[Any, ...]] = field(default_factory=list)
    more: asyncio.Event = field(default_factory=asyncio.Event)

    def add(self, *done: Any) -> None:
        self.done.append(done)
        self.more.set()

    async def kill(self, seat: Seat) -> None:
        self.add("kill", seat.device)
        seat.process = None

    async def replace(self, seat: Seat) -> None:
        self.add("replace", seat.device)
        seat.process = None

    async def start(self, seat: Seat) -> None:
        if seat.process is None:
            self.add("start", seat.device)
            seat.process, seat.ready = True, True  # type: ignore[assignment]

    def stop(self, seat: Seat) -> None:
        self.add("stop", seat.device)
        seat.stopped = True

    def go_on(self, seat: Seat) -> None:
        self.add("go_on", seat.device)
        seat.stopped = False

    def split(self, sides: list[list[int]], brokers: list[list[int]], style: str) -> None:
        self.add("split", tuple(sides[1]), tuple(brokers[1]), style)

    def heal(self) -> None:
        self.add("heal")

    def disturb(self, style: str, *, device: int | None, broker: int | None) -> None:
        self.add("disturb", style, device, broker)

    def soothe(self, *, device: int | None, broker: int | None) -> None:
        self.add("soothe", device, broker)

    def note(self, what: str, **more: Any) -> None:
        if what == "spared":
            self.add("spared", more["kind"])


@dataclass
class FakeRelay:
    number: int
    world: FakeWorld

    async def start(self) -> None:
        self.world.add("broker up", self.number)

    async def kill(self) -> None:
        self.world.add("broker down", self.number)


def seats(count: int, *, leader: int | None = None) -> list[Seat]:
    made = [Seat(device, f"{device:032x}") for device in range(count)]
    for seat in made:
        seat.process, seat.ready, seat.certified = True, True, 1  # type: ignore[assignment]
        seat.leads = 1 if seat.device == leader else 0
    return made


def nemesis_of(world: FakeWorld, *planned: Planned, patience_s: float = 0.01) -> Nemesis:
    return Nemesis(
        planned, patience_s=patience_s, crew=world, relays=[FakeRelay(0, world), FakeRelay(1, world)],  # type: ignore[arg-type]
        network=world, history=world,  # type: ignore[arg-type]
    )  # fmt: skip


def fault(kind: str, *, round: int = 1, lasts: float = 0.0, draw: float = 0.0, style: str = "") -> Planned:
    return Planned(round, kind, 0.0, lasts, draw, style)


async def until(world: FakeWorld, count: int) -> None:
    async with asyncio.timeout(30):
        while len(world.done) < count:
            world.more.clear()
            await world.more.wait()


async def test_an_aggregator_in_office_is_killed_and_restarted():
    world = FakeWorld(seats(5, leader=3))
    nemesis_of(world, fault("kill", draw=0.99)).reach(1, 0.0)
    await until(world, 2)
    assert world.done == [("kill", 3), ("start", 3)]


async def test_nothing_happens_before_its_round():
    world = FakeWorld(seats(5))
    nemesis = nemesis_of(world, fault("replace", round=2, draw=0.5))
    nemesis.reach(1, 0.0)
    await asyncio.sleep(0.02)
    assert world.done == []
    nemesis.reach(2, 0.0)
    await until(world, 2)
    assert world.done == [("replace", 2), ("start", 2)]


async def test_the_larger_side_keeps_a_majority():
    world = FakeWorld(seats(5))
    long = [fault("stop", lasts=1e6, draw=draw) for draw in (0.0, 0.0, 0.0)]
    nemesis = nemesis_of(world, *long)
    nemesis.reach(1, 0.0)
    await until(world, 3)
    assert world.done == [("stop", 0), ("stop", 1), ("spared", "stop")]
    await nemesis.calm()
    assert not any(seat.stopped for seat in world.seats)


async def test_a_partition_leaves_the_smaller_side_a_broker_and_heals():
    world = FakeWorld(seats(10))
    nemesis_of(world, fault("partition", draw=0.5, style="hole")).reach(1, 0.0)
    await until(world, 2)
    [split, heal] = world.done
    assert (split[0], len(split[1]), len(split[2]), split[3]) == ("split", 2, 1, "hole")
    assert heal == ("heal",)
    assert not any(seat.cut for seat in world.seats)


@pytest.mark.parametrize(
    ("planned", "done", "undone"),
    [
        (fault("kill", lasts=1e6), ("kill", 0), ("start", 0)),
        (fault("stop", lasts=1e6), ("stop", 0), ("go_on", 0)),
        (fault("link", lasts=1e6, style="slow"), ("disturb", "slow", 0, None), ("soothe", 0, None)),
        (
            fault("link", lasts=1e6, style="slow-broker"),
            ("disturb", "slow-broker", None, 0),
            ("soothe", None, 0),
        ),
        (fault("broker", lasts=1e6, style="kill"), ("broker down", 0), ("broker up", 0)),
    ],
)
async def test_calm_undoes_what_was_done_and_begins_nothing(planned, done, undone):
    world = FakeWorld(seats(5))
    nemesis = nemesis_of(world, planned, fault("stop", round=2))
    nemesis.reach(1, 0.0)
    await until(world, 1)
    await nemesis.calm()
    nemesis.reach(9, 0.0)
    await asyncio.sleep(0.02)
    assert world.done[:2] == [done, undone]
    assert {what for what, *_ in world.done[2:]} <= {"broker up"}
