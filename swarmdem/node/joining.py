"""How a peer gets onto the bus: its link, its port, and what it subscribes to."""

from collections.abc import Sequence
from contextlib import AsyncExitStack

from swarmdem.transport.base import Link, Port
from swarmdem.transport.settings import MqttSettings
from swarmdem.wire import topics
from swarmdem.wire.charter import Charter, charter_hash, swarm_hash
from swarmdem.wire.codec import FrameSealer
from swarmdem.wire.messages import Offline


async def link_to(stack: AsyncExitStack, brokers: Sequence[str], settings: MqttSettings | None) -> Link:
    """Return a link over all *brokers*, which ends with *stack*.

    Raises:
        ConfigError: A URL or a TLS file cannot be used.
    """
    from swarmdem.transport.multi import MultiLink  # noqa: PLC0415 - other links do without MQTT

    link = MultiLink(brokers, settings)
    stack.push_async_callback(link.close)
    return link


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
