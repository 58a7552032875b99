"""How a peer gets onto the bus: its brokers, its port, and what it subscribes to."""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from swarmdem.identifiers import PeerId
from swarmdem.node.brokers import Brokers, Report, hosted_broker
from swarmdem.transport.base import Link, Port
from swarmdem.transport.settings import MqttSettings
from swarmdem.wire import charter as charters, topics
from swarmdem.wire.charter import Charter, charter_hash, swarm_hash
from swarmdem.wire.codec import FrameSealer
from swarmdem.wire.messages import Offline


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """Which brokers a peer was told to use; see `Peer` for what each means."""

    brokers: tuple[str, ...]
    mqtt: MqttSettings | None
    host_broker: str | None
    discover: bool
    interfaces: tuple[str, ...] | None = None
    """Addresses of the interfaces on which brokers are looked for; None: all."""


async def brokers_of(
    stack: AsyncExitStack, reach: Reach, *, me: PeerId, charter: Charter, state: Path | None, report: Report
) -> Brokers:
    """Return the brokers of a peer with a link over them; *stack* ends both.

    Raises:
        ConfigError: A URL or a TLS file cannot be used, a broker does not start, an extra is missing.
        TransportError: The network cannot be used for mDNS.
    """
    from swarmdem.transport.multi import MultiLink  # noqa: PLC0415 - other links do without MQTT

    hosted = None
    if reach.host_broker is not None:
        hosted = await stack.enter_async_context(hosted_broker(reach.host_broker, report))
    link = MultiLink(reach.brokers, reach.mqtt)
    stack.push_async_callback(link.close)
    brokers = Brokers(link, me=me, charter=charters.encode(charter), state=state, hosted=hosted)
    if reach.discover:
        await _use_mdns(stack, reach, brokers, charter)
    task = asyncio.create_task(brokers.run(), name="swarmdem.brokers")
    stack.push_async_callback(cancelled, task)
    return brokers


async def _use_mdns(stack: AsyncExitStack, reach: Reach, brokers: Brokers, charter: Charter) -> None:
    from swarmdem.transport.discovery import announced, discovered  # noqa: PLC0415 - an extra

    swarm, scope, interfaces = charter.swarm, topics.scope_level(charter_hash(charter)), reach.interfaces
    if (place := brokers.announced_at) is not None:
        await stack.enter_async_context(announced(*place, swarm, scope, interfaces=interfaces))
    await stack.enter_async_context(discovered(swarm, scope, brokers.nearby, interfaces=interfaces))


async def open_port(stack: AsyncExitStack, link: Link, charter: Charter, sealer: FrameSealer) -> Port:
    """Return a peer's port on *link*, subscribed to all that concerns it; it ends with *stack*."""
    me, scope = sealer.peer, charter_hash(charter)
    will = sealer.seal(Offline(leaving=False))
    port = await link.open_port(will=(topics.everyone(scope, Offline, me), will.raw))
    stack.push_async_callback(port.close)
    await port.subscribe(topics.hello_all(charter.swarm))
    await port.subscribe(topics.everyone_all(scope))
    await port.subscribe(topics.inbox_all(scope, me))
    await port.subscribe(topics.inbox_all(swarm_hash(charter.swarm), me))  # a refusal comes here
    await port.subscribe(topics.bulk_all(scope, me), bulk=True)
    return port


async def cancelled(task: asyncio.Task[None]) -> None:
    """Cancel *task* and wait until it has ended, however."""
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
