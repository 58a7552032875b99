"""An aiomqtt client whose messages cost less: nothing is queued, and no task or extra wake-up goes with them.

Four departures from aiomqtt's usual way. Arrivals are handed on at the moment they are decoded, instead of
through a queue. A publish is written to the socket at once, when that takes it, instead of in a later pass
of the event loop; what the socket does not take follows when it does. Acknowledgements are counted in the
connection's window instead of being awaited by a task each. And of a long message paho, which aiomqtt
stands on, would make three copies to take it apart, which costs as much as hashing it, and one at every write
of a part of it; here it is one, and none.

Limits: QoS 1 only; used on the event loop it was made on. The last of the four reaches into paho: with a
version that has not what it needs, paho does these things its own way.
"""

import struct
import threading
from collections.abc import Callable
from typing import Any, cast

import aiomqtt
import paho.mqtt.client as mqtt
from paho.mqtt.enums import MQTTErrorCode

from swarmdem.transport.base import Arrival
from swarmdem.transport.window import SendWindow

LONG_BYTES = 16 * 1024
"""From this on a message is worth a shortcut."""
RETAIN, QOS, QOS_1 = 0x01, 0x06, 0x02
"""Bits of a PUBLISH's first byte (MQTT 3.1.1, 3.3.1)."""

_LENGTH = struct.Struct(">H")

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
        self._queued: Any = getattr(self._client, "_out_packet", None)
        self._take_apart = getattr(self._client, "_handle_publish", None)
        if _familiar(self._client):
            vars(self._client)["_handle_publish"] = self._handle_publish
        # A topic that is no UTF-8 would otherwise be read again and again until the connection is given up.
        self._client.suppress_exceptions = True

    def hand_over(self, topic: str, payload: bytes, size_bytes: int, *, retain: bool) -> bool:
        """Publish what the window has given room for; False: there is no connection any more."""
        self._writing = True
        try:
            info = self._client.publish(topic, payload, 1, retain)
        finally:
            self._writing = False
        if info.rc != mqtt.MQTT_ERR_SUCCESS:
            return False
        self._unacknowledged[info.mid] = size_bytes
        last = self._queued[-1] if size_bytes >= LONG_BYTES and self._queued else None
        if isinstance(last, dict) and isinstance(last.get("packet"), bytes | bytearray):
            last["packet"] = memoryview(last["packet"])
        self._write()
        return True

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

    def _handle_publish(self) -> MQTTErrorCode:
        """Hand on a message of which all bytes are here, and acknowledge it."""
        client, by_library = self._client, cast(Callable[[], MQTTErrorCode], self._take_apart)
        command, packet = client._in_packet["command"], client._in_packet["packet"]
        if len(packet) < LONG_BYTES or command & QOS != QOS_1:
            return by_library()
        (length,) = _LENGTH.unpack_from(packet)
        start = 2 + length + 2
        try:
            topic = packet[2 : 2 + length].decode()
            (number,) = _LENGTH.unpack_from(packet, 2 + length)
        except (UnicodeDecodeError, struct.error):
            return by_library()  # which knows what to do about it
        self._deliver(Arrival(topic, bytes(memoryview(packet)[start:])), bool(command & RETAIN))
        return client._send_puback(number)

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


def _familiar(client: mqtt.Client) -> bool:
    """Say whether paho keeps an arriving message where `Client._handle_publish` looks for it."""
    arriving = getattr(client, "_in_packet", None)
    return (
        isinstance(arriving, dict)
        and {"command", "packet"} <= arriving.keys()
        and callable(getattr(client, "_handle_publish", None))
        and callable(getattr(client, "_send_puback", None))
    )
