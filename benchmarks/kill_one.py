"""What one killed peer costs the others: `python benchmarks/kill_one.py [--peers 10] [--times 3]`.

N peers, each a process of its own, learn over one real broker. After some undisturbed rounds an
aggregator in office is killed with SIGKILL and not started again; some rounds later the next one is,
until `--times` of them are gone. A round lasts from the moment the last live peer finished the round before
to the moment the last live peer finished this one.

Printed per kill: the round it fell into and the one after (in which the dead peer is still waited for:
the list it stands in holds until the next certificate), each with what it took above the median of
undisturbed rounds, and that in patiences. A killed peer should cost at most one deadline: a group waits
patience/4 for its aggregator before the second in rank acts, and the next round waits for a digest
that does not come until patience + 1.5 x p90 of training.

The same test with other systems, one of ten nodes killed in the middle of a run: p2pfl 0.4.4 did not finish
anything in 400 s, the session of SDFLMQ 0.1 hung for ever.
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
from swarmdem.transport.brokers import available, start_broker

LOOK_S = 0.005
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

    def live(self) -> list[Seat]:
        return [seat for seat in self.crew.seats if seat.process is not None]

    async def until(self, done) -> None:
        """Look at journals until *done* is true; raise when no round ends any more."""
        moved_s = self.history.now_s
        while not done():
            await asyncio.sleep(LOOK_S)
            self.crew.look()
            now_s = self.history.now_s
            finished = min(seat.finished for seat in self.live())
            if finished > max(self.ends, default=0):
                self.ends[finished] = moved_s = now_s
            if now_s - moved_s > PATIENCES_MAX * self.patience_s + 60.0:
                raise SystemExit(f"stalled: no round ended for {now_s - moved_s:.0f} s")

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


async def measure(swarm: SwarmSettings, times: int, between: int) -> None:
    settings = TormentSettings(swarm=swarm, brokers=1)
    kind = available(swarm.broker)
    with tempfile.TemporaryDirectory(prefix="kill-one-") as name:
        folder = Path(name) / "run"
        RunFolder(folder).create(swarm, charter_for(settings, kind), "kill_one", "")
        history = History(folder)
        async with AsyncExitStack() as stack:
            stack.callback(history.close)
            broker = await stack.enter_async_context(start_broker(kind))
            urls = [(broker.url,)] * swarm.peers
            crew = await stack.enter_async_context(PeerCrew(folder, swarm.seed, urls, history))
            for seat in crew.seats:
                await crew.start(seat)
            while not all(seat.ready for seat in crew.seats):
                await asyncio.sleep(LOOK_S)
                crew.look()
            rounds = Rounds(crew, history, swarm.patience_s)
            await rounds.until(lambda: rounds.last() >= WARM_ROUNDS + between)
            disturbed = []
            for _ in range(times):
                await rounds.until(lambda: in_office(rounds.live()) is not None)
                seat = in_office(rounds.live())
                disturbed.append((seat.leads, seat.device))
                await crew.kill(seat)
                last = seat.leads + 1 + between
                await rounds.until(lambda last=last: rounds.last() >= last)
        tell(rounds, disturbed, kind)


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
    parser.add_argument("--peers", type=int, default=10)
    parser.add_argument("--times", type=int, default=3, help="peers killed, one after the other")
    parser.add_argument("--between", type=int, default=4, help="undisturbed rounds between two kills")
    parser.add_argument("--patience", type=float, default=8.0)
    parser.add_argument("--model", default="mlp")
    parser.add_argument("--data", default="digits", help="or the peer workload's .npz")
    parser.add_argument("--broker", default="auto")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    swarm = SwarmSettings(
        peers=chosen.peers, rounds=1000, patience=chosen.patience, model=chosen.model, data=chosen.data,
        broker=chosen.broker, seed=chosen.seed, evaluate_every=1000,
    )  # fmt: skip
    asyncio.run(measure(swarm, chosen.times, chosen.between))


if __name__ == "__main__":
    main()
