"""Does to a swarm what the schedule says, and never more than it must survive.

A fault waits, and is *spared* in the end, while it would leave the larger side without a majority of
the devices: losing that is another experiment (the swarm then goes on uncertified).
"""

import asyncio
import contextlib
from collections.abc import Callable, Sequence

from swarmdem.apps.torment.crew import PeerCrew, Seat
from swarmdem.apps.torment.history import TAIL_S, History
from swarmdem.apps.torment.network import Network
from swarmdem.apps.torment.relays import Relay
from swarmdem.apps.torment.schedule import SMALLER_SIDE, Planned

WAIT_PATIENCES = {"kill": 0.5, "stop": 1.0, "replace": 5.0, "partition": 5.0}
"""How long a fault waits for its turn."""


class Nemesis:
    """The faults of one run.

    Args:
        planned: What shall happen.
        patience_s: The unit in which faults last.
        crew: The peers.
        relays: The brokers.
        network: The links.
        history: Told of everything.
    """

    def __init__(
        self,
        planned: Sequence[Planned],
        *,
        patience_s: float,
        crew: PeerCrew,
        relays: Sequence[Relay],
        network: Network,
        history: History,
    ) -> None:
        self._to_come = list(planned)
        self._patience_s = patience_s
        self._crew = crew
        self._relays = relays
        self._network = network
        self._history = history
        self._tasks: set[asyncio.Task[None]] = set()
        self._over = asyncio.Event()
        """Calm has begun: all that waits goes on, and ends what it did."""
        self._taken: set[int] = set()
        """Devices that something happens to."""
        self._split = False
        self._round_s = patience_s

    def reach(self, round: int, length_s: float) -> None:
        """Begin what is planned for all rounds up to this one.

        Args:
            round: That a peer has the certificate of.
            length_s: How long a round takes; no fault waits longer than a patience, though.
        """
        self._round_s = min(length_s, self._patience_s)
        while self._to_come and self._to_come[0].round <= round:
            fault = self._to_come.pop(0)
            task = asyncio.create_task(self._do(fault), name=f"{fault.kind} of round {fault.round}")
            self._tasks.add(task)

    def check(self) -> None:
        """Raise what went wrong with a fault itself."""
        for task in [task for task in self._tasks if task.done()]:
            self._tasks.discard(task)
            task.result()

    async def calm(self) -> None:
        """End every fault at once and start whoever is down."""
        self._to_come.clear()
        self._over.set()
        await asyncio.gather(*self._tasks)
        self._tasks.clear()
        for relay in self._relays:
            await relay.start()
        for seat in self._crew.seats:
            await self._crew.start(seat)

    async def close(self) -> None:
        """Do nothing more, whatever is under way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _do(self, fault: Planned) -> None:
        await self._pause(fault.after * self._round_s)
        if self._over.is_set():
            return
        match fault.kind:
            case "kill" | "replace":
                await self._kill(fault)
            case "stop":
                await self._stop(fault)
            case "partition":
                await self._partition(fault)
            case "broker":
                await self._break_broker(fault)
            case "link":
                await self._bend_link(fault)

    async def _kill(self, fault: Planned) -> None:
        seat = await self._victim(fault, leaders=fault.kind == "kill")
        if seat is None:
            return
        if fault.kind == "replace":
            await self._crew.replace(seat)
        else:
            await self._crew.kill(seat)
        await self._last(fault)
        await self._crew.start(seat)
        self._taken.discard(seat.device)

    async def _stop(self, fault: Planned) -> None:
        seat = await self._victim(fault)
        if seat is None:
            return
        self._crew.stop(seat)
        await self._last(fault)
        self._crew.go_on(seat)
        self._taken.discard(seat.device)

    async def _partition(self, fault: Planned) -> None:
        seats = self._crew.seats
        least, most = SMALLER_SIDE
        size = max(1, round(len(seats) * (least + (most - least) * fault.draw)))
        first = int(fault.draw * 1_000_003) % len(seats)
        smaller = sorted((first + step) % len(seats) for step in range(size))
        if not await self._turn(fault, lambda: not self._split and self._may_lose(smaller)):
            return
        larger = [seat.device for seat in seats if seat.device not in smaller]
        alone = first % len(self._relays)
        reached = [[n for n in range(len(self._relays)) if n != alone], [alone]]
        if len(self._relays) == 1:
            reached = [[0], []]  # the smaller side has no broker to meet at
        self._split = True
        for device in smaller:
            seats[device].cut = True
        self._network.split([larger, smaller], reached, fault.style)
        self._history.note("partition", sides=[larger, smaller], brokers=reached, style=fault.style)
        await self._last(fault)
        self._network.heal()
        for device in smaller:
            seats[device].cut = False
        self._split = False
        self._history.note("heal")

    async def _break_broker(self, fault: Planned) -> None:
        relay = self._relays[int(fault.draw * len(self._relays))]
        if fault.style == "kill":
            await relay.kill()
            await self._last(fault)
            await relay.start()
        else:
            relay.stop()
            await self._last(fault)
            relay.go_on()

    async def _bend_link(self, fault: Planned) -> None:
        device = broker = None
        if fault.style == "slow-broker":
            broker = int(fault.draw * len(self._relays))
        else:
            device = int(fault.draw * len(self._crew.seats))
        self._history.note("link", style=fault.style, device=device, broker=broker)
        self._network.disturb(fault.style, device=device, broker=broker)
        await self._last(fault)
        self._network.soothe(device=device, broker=broker)
        self._history.note("link_over", style=fault.style, device=device, broker=broker)

    async def _victim(self, fault: Planned, *, leaders: bool = False) -> Seat | None:
        """Take a peer that is well, an aggregator in office if there is one; None when none may go."""

        def choice() -> list[Seat]:
            well = [seat for seat in self._crew.seats if seat.well and seat.device not in self._taken]
            elected = [seat for seat in well if seat.leads and seat.leads == seat.certified]
            in_office = [seat for seat in elected if seat.finished < seat.leads]
            return (in_office or elected or well) if leaders else well

        if not await self._turn(fault, lambda: any(self._may_lose([seat.device]) for seat in choice())):
            return None
        seats = choice()
        seat = seats[int(fault.draw * len(seats))]
        self._taken.add(seat.device)
        return seat

    async def _turn(self, fault: Planned, possible: Callable[[], bool]) -> bool:
        """Wait until the swarm can bear a fault; False when it is spared."""
        left_s = WAIT_PATIENCES[fault.kind] * self._patience_s
        while not possible():
            if left_s <= 0 or self._over.is_set():
                why = "too many peers are away, or the swarm is split already"
                self._history.note("spared", kind=fault.kind, round=fault.round, why=why)
                return False
            await asyncio.sleep(TAIL_S)
            left_s -= TAIL_S
        return True

    def _may_lose(self, devices: Sequence[int]) -> bool:
        seats = self._crew.seats
        left = sum(seat.well and seat.device not in devices for seat in seats)
        return 2 * left > len(seats)

    async def _last(self, fault: Planned) -> None:
        await self._pause(fault.lasts * self._patience_s)

    async def _pause(self, seconds: float) -> None:
        """Wait, but not beyond the beginning of calm."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._over.wait()
