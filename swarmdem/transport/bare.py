"""The yardstick: an aiomqtt publisher and subscriber with nothing around them but the hashes of the leaves.

What `swarmdem bench transfer` holds the transfer of models against. The publisher sends a blob in chunks at
QoS 1 with a few MiB on their way; the subscriber hashes each leaf of 64 KiB and keeps the chunks as they
came. Nothing is asked for, signed, checked, repaired or put together.
"""

import asyncio
import time
from hashlib import sha256

import aiomqtt

from swarmdem.transport.settings import BrokerAddress

LEAF_BYTES = 65_536
TAG = b"swarmdem/1/leaf\0"
WINDOW_BYTES = 8 * 2**20
WINDOW_MESSAGES = 64
"""On their way at a time: waiting for each acknowledgement would halve the rate of small chunks."""


def client(url: str) -> aiomqtt.Client:
    """Return a client that is not connected yet."""
    address = BrokerAddress.parse(url)
    made = aiomqtt.Client(
        address.host,
        address.port,
        username=address.username,
        password=address.password,
        tls_context=(address.files.context() if address.files else None) if address.tls else None,
        protocol=aiomqtt.ProtocolVersion.V311,
        max_inflight_messages=WINDOW_MESSAGES,
    )
    made.pending_calls_threshold = 2 * WINDOW_MESSAGES
    return made


async def give(connected: aiomqtt.Client, topic: str, blob: memoryview, chunk_bytes: int) -> float:
    """Publish *blob* in chunks; return when that began, on the monotonic clock."""
    room = asyncio.Semaphore(max(1, min(WINDOW_MESSAGES, WINDOW_BYTES // chunk_bytes)))

    async def publish(start: int) -> None:
        try:
            await connected.publish(topic, bytes(blob[start : start + chunk_bytes]), qos=1)
        finally:
            room.release()

    began_s = time.monotonic()
    async with asyncio.TaskGroup() as tasks:
        for start in range(0, len(blob), chunk_bytes):
            await room.acquire()
            tasks.create_task(publish(start))
    return began_s


async def take(connected: aiomqtt.Client, size_bytes: int) -> float:
    """Hash and keep what arrives until *size_bytes* are here; return when, on the monotonic clock."""
    tagged, kept, missing = sha256(TAG), [], size_bytes
    async for message in connected.messages:
        view = memoryview(message.payload)
        for start in range(0, len(view), LEAF_BYTES):
            hasher = tagged.copy()
            hasher.update(view[start : start + LEAF_BYTES])
            hasher.digest()
        kept.append(view)
        missing -= len(view)
        if missing <= 0:
            break
    return time.monotonic()
