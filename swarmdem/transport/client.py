"""An aiomqtt client whose messages cost less: nothing is queued, and no task or extra wake-up goes with them.

Four departures from aiomqtt's usual way. Arrivals are handed on at the moment they are whole, instead of
through a queue; a long one is read to where it stays (`packets.py`), which paho, on which aiomqtt stands,
does in pieces and with three copies. What is published in one pass of the event loop, by all the peers that
share the connection, goes to the socket in one go at its end: a call of the kernel for each short message
would cost more than making it. What the socket does not take follows when it does, and the body of a
message in two parts is never copied. Acknowledgements are counted in the connection's window instead of being
awaited by a task each, and those we owe leave together.

Limits: QoS 1 only; used on the event loop it was made on. To read and write packets it reaches into paho,
which makes and understands all but messages and their acknowledgements: a version that has not what this
needs does everything its own way.
"""

import asyncio
import contextlib
import socket
import ssl
import struct
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, cast

import aiomqtt
import paho.mqtt.client as mqtt
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.exception import MalformedPacket
from paho.mqtt.packettypes import PacketTypes

from swarmdem.errors import TransportError
from swarmdem.transport.base import Arrival, InParts
from swarmdem.transport.packets import BadLengthError, PacketReader, length_bytes
from swarmdem.transport.window import SendWindow

RETAIN, QOS_1 = 0x01, 0x02
KIND, QOS = 0xF0, 0x06
"""Parts of a packet's first byte (MQTT 3.1.1, 2.2 and 3.3.1)."""
PUBLISH, PUBACK = PacketTypes.PUBLISH << 4, PacketTypes.PUBACK << 4
TOGETHER_BYTES = 2**16
"""Of short messages, that wait for the end of a pass of the event loop; more are written at once."""
FAREWELL_S = 1.0
"""At most, for the broker to acknowledge all before the connection ends: some drop what is not looked at."""
READ_MOST_BYTES = 2**20
"""In one turn of the event loop; then others have theirs."""

_NUMBER = struct.Struct(">H")
_ACKNOWLEDGEMENT = struct.Struct(">BBH")

Deliver = Callable[[Arrival, bool], None]
"""Called with each arrival, and whether it was a retained message."""


class Client(aiomqtt.Client):
    """One attempt at a connection, and the connection it leads to.

    Args:
        deliver: Takes what arrives; must not raise.
        window: Has given room for what is published, and gets it back with the acknowledgement.
        named: As aiomqtt takes them.
    """

    def __init__(self, host: str, port: int, *, deliver: Deliver, window: SendWindow, **named: Any) -> None:
        super().__init__(host, port, **named)
        self.window = window
        self._deliver = deliver
        self._unacknowledged: dict[int, int] = {}
        self._thread = threading.get_ident()
        self._writing = False
        self._lined: list[bytes] = []
        """Messages published in this pass of the event loop."""
        self._lined_bytes = 0
        self._reader = PacketReader(self._take)
        self._owed = bytearray()
        """Acknowledgements of what was read in this turn."""
        self._code = MQTTErrorCode.MQTT_ERR_SUCCESS
        self._by_ourselves = familiar(self._client)
        if self._by_ourselves:
            vars(self._client)["loop_read"] = self._read
        # A topic that is no UTF-8 would otherwise be read again and again until the connection is given up.
        self._client.suppress_exceptions = True

    def hand_over(self, topic: str, payload: bytes | InParts, size_bytes: int, *, retain: bool) -> bool:
        """Publish what the window has given room for; False: there is no connection any more."""
        if self._client.socket() is None:
            return False
        self._writing = True
        try:
            number = (self._line_up if self._by_ourselves else self._publish)(topic, payload, retain)
        finally:
            self._writing = False
        if number is None:
            return False
        self._unacknowledged[number] = size_bytes
        if not self._lined:
            self._write()
        elif self._lined_bytes >= TOGETHER_BYTES:
            self._write_lined()
        elif len(self._lined) == 1:
            self._loop.call_soon(self._write_lined)
        return True

    def _publish(self, topic: str, payload: bytes | InParts, retain: bool) -> int | None:
        info = self._client.publish(topic, bytes(payload), 1, retain)
        return info.mid if info.rc == mqtt.MQTT_ERR_SUCCESS else None

    def _line_up(self, topic: str, payload: bytes | InParts, retain: bool) -> int:
        """Put a message behind those of this pass; a body, which stays where it is, ends the line."""
        client, name = self._client, topic.encode()
        number = client._mid_generate()
        head, body = (payload.head, payload.body) if isinstance(payload, InParts) else (payload, None)
        message = b"".join((
            bytes((PUBLISH | QOS_1 | retain,)), length_bytes(len(name) + 4 + len(payload)),
            _NUMBER.pack(len(name)), name, _NUMBER.pack(number), head,
        ))  # fmt: skip
        self._lined.append(message)
        self._lined_bytes += len(message)
        if body is not None:
            self._queue_lined()
            client._packet_queue(PUBLISH, body, number, 1)  # type: ignore[arg-type]  # is only sliced and sent
        return number

    def _queue_lined(self) -> None:
        """Put the messages of this pass in paho's line of packets, as one."""
        lined, self._lined, self._lined_bytes = b"".join(self._lined), [], 0
        self._client._packet_queue(PUBLISH, lined, 0, 1)

    def _write_lined(self) -> None:
        """Write the messages of this pass, unless that was done."""
        if not self._lined or self._client.socket() is None:
            return
        self._writing = True
        try:
            self._queue_lined()
        finally:
            self._writing = False
        self._write()

    def _write(self) -> None:
        """Write what waits; the event loop goes on with what the socket does not take."""
        try:
            self._client.loop_write()
        except Exception as error:  # as aiomqtt does: the connection is of no use any more
            if not self._disconnected.done():
                self._disconnected.set_exception(error)
            return
        connected = self._client.socket()
        if connected is not None and self._client.want_write():
            self._loop.add_writer(connected.fileno(), self._write)

    def _read(self, max_packets: int = 1) -> MQTTErrorCode:
        """Read what is here, and let paho or us take it; stands in for paho's `loop_read`."""
        left, self._code = READ_MOST_BYTES, MQTTErrorCode.MQTT_ERR_SUCCESS
        try:
            while left > 0 and (connected := self._client.socket()) is not None:
                room = self._reader.room
                if not (count := cast(socket.socket, connected).recv_into(room)):
                    self._code = MQTTErrorCode.MQTT_ERR_CONN_LOST
                elif self._reader.came(count) and (
                    count == len(room) or isinstance(connected, ssl.SSLSocket)
                ):
                    left -= count
                    continue
                break
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            pass
        except BadLengthError:
            self._code = MQTTErrorCode.MQTT_ERR_PROTOCOL
        except OSError:
            self._code = MQTTErrorCode.MQTT_ERR_CONN_LOST
        self._client._last_bytes_received = time.monotonic()
        self._acknowledge()
        return self._code if self._code <= 0 else self._client._loop_rc_handle(self._code)

    def _take(self, first: int, body: memoryview, ours: bool) -> bool:
        """Take a packet."""
        if first & KIND == PUBACK and len(body) == _NUMBER.size:
            size_bytes = self._unacknowledged.pop(_NUMBER.unpack(body)[0], None)
            if size_bytes is not None:
                self.window.give(size_bytes)
            return True
        if not (first & (KIND | QOS) == PUBLISH | QOS_1 and self._arrived(first, body, ours)):
            self._code = self._by_paho(first, body)
        return self._code <= 0 and self._client.socket() is not None

    def _arrived(self, first: int, body: memoryview, ours: bool) -> bool:
        """Hand on a message; False: it is not as it should be."""
        try:
            (length,) = _NUMBER.unpack_from(body)
            start = _NUMBER.size + length + _NUMBER.size
            topic = bytes(body[_NUMBER.size : start - _NUMBER.size]).decode()
            (number,) = _NUMBER.unpack_from(body, start - _NUMBER.size)
        except (UnicodeDecodeError, struct.error):
            return False
        retained = bool(first & RETAIN)
        payload = body[start:].toreadonly() if ours and not retained else bytes(body[start:])
        self._deliver(Arrival(topic, payload), retained)
        self._owed += _ACKNOWLEDGEMENT.pack(PUBACK, _NUMBER.size, number)
        return True

    def _by_paho(self, first: int, body: memoryview) -> MQTTErrorCode:
        """Let paho understand a packet: all but messages and acknowledgements."""
        client, nothing = self._client, self._client._in_packet
        client._in_packet = nothing | {
            "command": first, "have_remaining": 1, "remaining_length": len(body), "packet": bytearray(body),
        }  # fmt: skip
        try:
            return client._packet_handle()
        except MalformedPacket:
            return MQTTErrorCode.MQTT_ERR_PROTOCOL
        finally:
            client._in_packet = nothing

    def _acknowledge(self) -> None:
        """Say what has arrived in this turn, in one go."""
        if not self._owed or self._client.socket() is None:
            return
        owed, self._owed = bytes(self._owed), bytearray()
        self._writing = True
        try:
            self._client._packet_queue(PUBACK, owed, 0, 0)
        finally:
            self._writing = False
        self._write()

    async def __aexit__(self, *raised: Any) -> None:
        """Disconnect when what was published last has arrived, or after a while."""
        self._write_lined()
        try:
            if not self._disconnected.done():
                with contextlib.suppress(TransportError, TimeoutError):
                    async with asyncio.timeout(min(self.timeout, FAREWELL_S)):
                        await self.window.empty()
        finally:  # whoever cancels once more wants no farewell, and no connection left behind either
            await super().__aexit__(*raised)

    # What the client library calls

    def _on_message(self, client: mqtt.Client, userdata: Any, message: mqtt.MQTTMessage) -> None:
        self._deliver(Arrival(message.topic, bytes(message.payload)), message.retain)

    def _on_publish(self, client: mqtt.Client, userdata: Any, mid: int, *_: Any) -> None:
        size_bytes = self._unacknowledged.pop(mid, None)
        if size_bytes is not None:
            self.window.give(size_bytes)

    def _on_disconnect(self, *arguments: Any, **named: Any) -> None:
        """An attempt that ran out of time trips over nothing that still comes from its broker."""
        if not self._connected.cancelled():  # else asking how it ended raises, in a callback of the loop
            super()._on_disconnect(*arguments, **named)

    def _on_socket_register_write(self, client: mqtt.Client, userdata: Any, sock: Any) -> None:
        if threading.get_ident() != self._thread:
            super()._on_socket_register_write(client, userdata, sock)
        elif not self._writing:
            self._loop.call_soon(self._write)


def familiar(client: mqtt.Client) -> bool:
    """Say whether paho has what `Client` uses to read and write packets in its stead."""
    arriving = getattr(client, "_in_packet", None)
    return (
        isinstance(arriving, dict)
        and {"command", "have_remaining", "remaining_length", "packet"} <= arriving.keys()
        and isinstance(getattr(client, "_out_packet", None), deque)
        and isinstance(getattr(client, "_last_bytes_received", None), float)
        and all(callable(getattr(client, name, None)) for name in NEEDED)
    )


NEEDED = ("_loop_rc_handle", "_mid_generate", "_packet_handle", "_packet_queue", "loop_read")
"""What of paho is called."""
