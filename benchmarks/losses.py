"""What losses cost: `python benchmarks/losses.py one|minority|majority|broker [--peers 10]`.

N peers, each a process of its own, learn over one real broker. After some undisturbed rounds

- `one`: an aggregator in office is killed with SIGKILL and not started again; some rounds later the next
  one is, until `--times` of them are gone. Printed per kill: the round it fell into and the one after (in
  which the dead peer is still waited for: the list it stands in holds until the next certificate), each
  with what it took above the median of undisturbed rounds, and that in patiences. A killed peer should
  cost at most one deadline: a group waits patience/4 for its aggregator before the second in rank acts,
  and the next round waits up to a patience for a digest that does not come;
- `minority`: floor((N-1)/2) peers are killed at once, every aggregator in office among them: the others
  should certify within two deadlines;
- `majority`: half of them or more (ceil(N/2)) are: the others should go on uncertified at once and
  certify in a new lineage within two rounds;
- `broker`: the broker is killed, and started again empty after `--away` seconds: the swarm should resume by
  itself, with the same processes, and lose nothing but time.

A round lasts from the moment the last live peer finished the round before to the moment the last
live peer finished this one. The same test with other systems, one of ten nodes killed in the middle of
a run: p2pfl 0.4.4 did not finish anything in 400 s, the session of SDFLMQ 0.1 hung for ever.
"""

import argparse
import asyncio
import statistics
import tempfile
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

from swarmdem.apps.runfolder import RunFolder
from swarmdem.apps.settings import SwarmSettings
from swarmdem.apps.torment.crew import PeerCrew, Seat
from swarmdem.apps.torment.history import History
from swarmdem.apps.torment.running import charter_for
from swarmdem.apps.torment.settings import TormentSettings
from swarmdem.transport.brokers import Broker, available, start_broker

LOOK_S = 0.005
OFFICES_S = 0.02
"""Between the first election seen and the last: journals are written one by one."""
WARM_ROUNDS = 3
"""The first training of a process imports the optimizer."""
PATIENCES_MAX = 20.0
"""A round that lasts longer has stalled."""


@dataclass
class Rounds:
    """When each round ended at every live peer."""

    crew: PeerCrew
    history: History
    patience_s: float
    ends: dict[int, float] = field(default_factory=dict)
    loose: int = 0
    """Rounds that peers finished without a certificate."""
    moved_s: float = 0.0
    """When a round ended last."""

    def moved(self) -> None:
        """Begin to wait anew."""
        self.moved_s = self.history.now_s

    def live(self) -> list[Seat]:
        return [seat for seat in self.crew.seats if seat.process is not None]

    async def until(self, done) -> None:
        """Look at journals until *done* is true; raise when no round ends any more."""
        self.moved()
        while not done():
            await asyncio.sleep(LOOK_S)
            before = {seat.device: seat.finished for seat in self.live()}
            self.crew.look()
            self.loose += sum(not s.plan and s.finished > before.get(s.device, 0) for s in self.live())
            now_s = self.history.now_s
            finished = min(seat.finished for seat in self.live())
            if finished > max(self.ends, default=0):
                self.ends[finished] = self.moved_s = now_s
            if now_s - self.moved_s > PATIENCES_MAX * self.patience_s + 60.0:
                raise SystemExit(f"stalled: no round ended for {now_s - self.moved_s:.0f} s")

    def last(self) -> int:
        return max(self.ends, default=0)

    def length(self, round: int) -> float | None:
        """Return how long a round took; None when it was left out (rounds were skipped)."""
        before = self.ends.get(round - 1)
        return None if before is None or round not in self.ends else self.ends[round] - before


def in_office(seats: list[Seat]) -> Seat | None:
    """Return an aggregator of a round that is under way, the most burdened groups' or another."""
    found = [seat for seat in seats if seat.leads == seat.certified and seat.finished < seat.leads]
    return found[0] if found else None


@dataclass
class Run:
    """A swarm under way, and what is to happen to it."""

    swarm: SwarmSettings
    rounds: Rounds
    brokers: AsyncExitStack
    """Closing it ends the broker."""
    broker: Broker
    chosen: argparse.Namespace

    async def all_certified(self) -> float:
        """Wait until all live peers finished one round certified from now on; return the seconds."""
        began_s, crew = self.rounds.history.now_s, self.rounds.crew
        before = max(seat.certified for seat in crew.seats)

        def together() -> bool:
            live = self.rounds.live()
            fresh = all(seat.plan and seat.finished > before for seat in live)
            return fresh and len({seat.plan for seat in live}) == 1

        await self.rounds.until(together)
        return self.rounds.history.now_s - began_s


async def lose_one(run: Run) -> None:
    rounds, disturbed = run.rounds, []
    for _ in range(run.chosen.times):
        await rounds.until(lambda: in_office(rounds.live()) is not None)
        seat = in_office(rounds.live())
        disturbed.append((seat.leads, seat.device))
        await rounds.crew.kill(seat)
        last = seat.leads + 1 + run.chosen.between
        await rounds.until(lambda last=last: rounds.last() >= last)
    tell(rounds, disturbed, run.broker.kind)


async def lose_many(run: Run, count: int) -> None:
    rounds = run.rounds
    await rounds.until(lambda: in_office(rounds.live()) is not None)
    await asyncio.sleep(OFFICES_S)
    rounds.crew.look()
    round = max(seat.leads for seat in rounds.live())
    seats = sorted(rounds.live(), key=lambda seat: (seat.leads != round, seat.device))
    leading = sum(seat.leads == round for seat in seats)
    loose_before = rounds.loose
    await asyncio.gather(*(rounds.crew.kill(seat) for seat in seats[:count]))
    seconds = await run.all_certified()
    print(
        f"{count} of {len(seats)} peers killed in round {round}, {min(leading, count)} of its {leading} "
        f"aggregators among them: the others shared a certified round after {seconds:.2f} s "
        f"({seconds / rounds.patience_s:.2f} patiences), finishing {rounds.loose - loose_before} uncertified "
        f"rounds meanwhile ({len(rounds.live())} peers)"
    )


async def lose_broker(run: Run) -> None:
    rounds, kind, port = run.rounds, run.broker.kind, run.broker.port
    before, processes = rounds.last(), [seat.process for seat in rounds.crew.seats]
    run.broker.process.kill()
    await run.brokers.aclose()
    await asyncio.sleep(run.chosen.away)
    rounds.crew.look()
    alone = max(seat.finished for seat in rounds.live()) - before
    rounds.moved()
    async with start_broker(kind, port=port):
        seconds = await run.all_certified()
        same = sum(
            seat.process is process for seat, process in zip(rounds.crew.seats, processes, strict=True)
        )
        number = max(seat.finished for seat in rounds.live())
        print(
            f"broker killed after round {before}, back and empty {run.chosen.away:g} s later, {alone} rounds "
            f"finished without it; {seconds:.2f} s after its return all {len(processes)} peers shared "
            f"certified round {number}; {same} of them are still the same process"
        )
        await rounds.until(lambda: rounds.last() >= number + run.chosen.between)


LOSSES = {
    "one": lose_one,
    "minority": lambda run: lose_many(run, (run.swarm.peers - 1) // 2),
    "majority": lambda run: lose_many(run, (run.swarm.peers + 1) // 2),
    "broker": lose_broker,
}


async def measure(swarm: SwarmSettings, chosen: argparse.Namespace) -> None:
    settings = TormentSettings(swarm=swarm, brokers=1)
    kind = available(swarm.broker)
    with tempfile.TemporaryDirectory(prefix="losses-") as name:
        folder = Path(name) / "run"
        RunFolder(folder).create(swarm, charter_for(settings, kind), "losses", "")
        history = History(folder)
        async with AsyncExitStack() as stack:
            stack.callback(history.close)
            brokers = await stack.enter_async_context(AsyncExitStack())
            broker = await brokers.enter_async_context(start_broker(kind))
            urls = [(broker.url,)] * swarm.peers
            crew = await stack.enter_async_context(PeerCrew(folder, swarm.seed, urls, history))
            for seat in crew.seats:
                await crew.start(seat)
            while not all(seat.ready for seat in crew.seats):
                await asyncio.sleep(LOOK_S)
                crew.look()
            rounds = Rounds(crew, history, swarm.patience_s)
            await rounds.until(lambda: rounds.last() >= WARM_ROUNDS + chosen.between)
            await LOSSES[chosen.loss](Run(swarm, rounds, brokers, broker, chosen))


def tell(rounds: Rounds, disturbed: list[tuple[int, int]], kind: str) -> None:
    touched = {round + step for round, _ in disturbed for step in (0, 1)}
    quiet = [
        length
        for round in rounds.ends
        if round > WARM_ROUNDS and round not in touched and (length := rounds.length(round)) is not None
    ]
    usual_s, patience_s = statistics.median(quiet), rounds.patience_s
    print(f"{len(rounds.crew.seats)} peers, {kind}, patience {patience_s:g} s")
    print(f"undisturbed rounds: median {usual_s:.2f} s, longest {max(quiet):.2f} s, {len(quiet)} of them")
    for round, device in disturbed:
        parts = []
        for number, what in ((round, "that round"), (round + 1, "the next")):
            length = rounds.length(number)
            if length is None:
                parts.append(f"{what}: skipped")
                continue
            above = max(0.0, length - usual_s)
            parts.append(f"{what} {length:.2f} s (+{above:.2f} s, {above / patience_s:.2f} patiences)")
        print(f"peer {device} killed in round {round}: {'; '.join(parts)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("loss", choices=sorted(LOSSES))
    parser.add_argument("--peers", type=int, default=10)
    parser.add_argument("--times", type=int, default=3, help="one: peers killed, one after the other")
    parser.add_argument("--between", type=int, default=4, help="undisturbed rounds before and between")
    parser.add_argument("--away", type=float, default=60.0, help="broker: seconds until it is back")
    parser.add_argument("--patience", type=float, default=8.0)
    parser.add_argument("--model", default="mlp")
    parser.add_argument("--data", default="digits", help="or the peer workload's .npz")
    parser.add_argument("--levels", type=int, default=3, help="of groups below the root")
    parser.add_argument("--broker", default="auto")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    swarm = SwarmSettings(
        peers=chosen.peers, rounds=1000, patience=chosen.patience, levels=chosen.levels, model=chosen.model,
        data=chosen.data, broker=chosen.broker, seed=chosen.seed, evaluate_every=1000,
    )  # fmt: skip
    asyncio.run(measure(swarm, chosen))


if __name__ == "__main__":
    main()
