"""Messages and megabytes a second through a broker: one publishing process, one subscribing process.

    python benchmarks/transport.py [mosquitto|nats|embedded ...]

Prints, for each broker and payload, the throughput from the first publish to the last arrival
and the CPU time that publisher and subscriber spent on a message. Loopback only.
"""

import asyncio
import sys
import time

from swarmdem.errors import ConfigError
from swarmdem.transport.arrivals import QueueLimits
from swarmdem.transport.brokers import KINDS, start_broker
from swarmdem.transport.mqtt import MqttLink
from swarmdem.transport.settings import MqttSettings

LOADS = ((256, 10_000), (65_536, 1500), (1_048_576, 200))
"""Payload in bytes, and how many of them."""
QUEUE = QueueLimits(messages=1_000_000, size_bytes=1 << 30)


async def subscribe(url: str) -> None:
    """Count arrivals; print the seconds from READY to the last, and the CPU seconds."""
    link = MqttLink(url, MqttSettings(queue=QUEUE))
    port = await link.open_port()
    await link.connect(20)
    await port.subscribe("load/+", bulk=True)
    stream = port.arrivals()
    await anext(stream)
    for _, count in LOADS:
        print("ready", flush=True)
        cpu_s = time.process_time()
        for _ in range(count):
            await anext(stream)
        print(time.process_time() - cpu_s, flush=True)
    await link.close()


async def publish(url: str, kind: str) -> None:
    """Publish each load to a subscriber of its own process and print a line about it."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, __file__, "subscribe", url, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    link = MqttLink(url)
    port = await link.open_port()
    await link.connect(20)
    for size_bytes, count in LOADS:
        await process.stdout.readline()
        payload = bytes(size_bytes)
        start_s, cpu_s = time.perf_counter(), time.process_time()
        for number in range(count):
            await port.publish(f"load/{number % 10}", payload, bulk=True)
        their_cpu_s = float(await process.stdout.readline())
        wall_s, our_cpu_s = time.perf_counter() - start_s, time.process_time() - cpu_s
        print(
            f"{kind:10} {size_bytes:>9} B {count / wall_s:8.0f} messages/s "
            f"{count * size_bytes / wall_s / 1e6:7.1f} MB/s   "
            f"CPU us: publish {our_cpu_s / count * 1e6:5.0f}, receive {their_cpu_s / count * 1e6:5.0f}"
        )
    await link.close()
    await process.wait()


async def main(kinds: list[str]) -> None:
    """Measure each broker that is installed."""
    for kind in kinds:
        try:
            async with start_broker(kind) as broker:
                await publish(broker.url, kind)
        except ConfigError as error:
            print(error)


if __name__ == "__main__":
    if sys.argv[1:2] == ["subscribe"]:
        asyncio.run(subscribe(sys.argv[2]))
    else:
        asyncio.run(main(sys.argv[1:] or list(KINDS)))
