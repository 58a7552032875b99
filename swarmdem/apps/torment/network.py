"""A fault proxy between every device and every broker: what cuts links and splits the swarm.

A device keeps its proxies for the whole run, whoever lives on it. Two things bend a link and both
hold: whether it is cut (a partition) and its weather (a fault of the link).
"""

from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack

from swarmdem.transport.brokers import LOOPBACK
from swarmdem.transport.proxy import FINE, FaultProxy, Weather

HOLE = Weather(blackhole=True)
WEATHERS = {
    "slow": Weather(latency_s=0.15, jitter_s=0.1, bytes_per_s=60_000),
    "slow-broker": Weather(latency_s=0.1, jitter_s=0.1, bytes_per_s=200_000),
    "corrupt": Weather(corrupt=1e-4),
    "hole": HOLE,
}
"""What a style of link fault does to the bytes; `reset` and `freeze` break connections instead."""


class Network:
    """The links of a run; an async context manager's content: enter with `open`."""

    def __init__(self, devices: int, brokers: int, seed: int) -> None:
        self._links = {
            (device, broker): FaultProxy(LOOPBACK, 1, seed=seed * 1_000_003 + device * 1_009 + broker)
            for device in range(devices)
            for broker in range(brokers)
        }
        self._cut: dict[tuple[int, int], str] = {}
        self._weather: dict[tuple[int, int], Weather] = {}

    async def open(self, stack: AsyncExitStack) -> None:
        """Listen on every link; *stack* closes them."""
        for proxy in self._links.values():
            await stack.enter_async_context(proxy)

    def urls(self, device: int) -> tuple[str, ...]:
        """Return by which URLs a device reaches the brokers, in their order."""
        return tuple(proxy.url for (d, _), proxy in sorted(self._links.items()) if d == device)

    def lead(self, broker: int, port: int) -> None:
        """Let all links to a broker lead to this port from now on."""
        for (_, number), proxy in self._links.items():
            if number == broker:
                proxy.target = (LOOPBACK, port)

    def split(self, sides: Sequence[Iterable[int]], brokers: Sequence[Iterable[int]], style: str) -> None:
        """Cut every link between a side and a broker that is not that side's.

        Args:
            sides: Devices.
            brokers: For each side those it still reaches.
            style: `refuse` breaks connections and takes no new ones; `hole` lets nothing through.
        """
        for devices, reached in zip(sides, brokers, strict=True):
            allowed = set(reached)
            for device in devices:
                for key in self._of_device(device):
                    if key[1] not in allowed:
                        self._cut[key] = style
                        self._bend(key)
                        if style == "refuse":
                            self._links[key].reset()

    def heal(self) -> None:
        """Join what was split."""
        cut, self._cut = self._cut, {}
        for key in cut:
            self._bend(key)

    def disturb(self, style: str, *, device: int | None = None, broker: int | None = None) -> None:
        """Do something to the links of a device (None: of all), to one broker (None: to all)."""
        for key in self._matching(device, broker):
            if style == "reset":
                self._links[key].reset()
            elif style == "freeze":
                self._links[key].freeze()
            else:
                self._weather[key] = WEATHERS[style]
                self._bend(key)

    def soothe(self, *, device: int | None = None, broker: int | None = None) -> None:
        """End what `disturb` began."""
        for key in self._matching(device, broker):
            damaged = self._weather.pop(key, FINE).corrupt > 0
            self._bend(key)
            if damaged:
                self._links[key].reset()  # nobody can tell where in a damaged stream a packet begins

    def _bend(self, key: tuple[int, int]) -> None:
        cut = self._cut.get(key)
        proxy = self._links[key]
        proxy.refusing = cut == "refuse"
        proxy.set(HOLE if cut == "hole" else self._weather.get(key, FINE))

    def _of_device(self, device: int) -> list[tuple[int, int]]:
        return self._matching(device, None)

    def _matching(self, device: int | None, broker: int | None) -> list[tuple[int, int]]:
        return [key for key in self._links if device in {None, key[0]} and broker in {None, key[1]}]
