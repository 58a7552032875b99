"""What waits for one broker of several: bounded, in order, and given up when the broker is."""

import pytest

from swarmdem.errors import TransportError
from swarmdem.transport import member as members
from swarmdem.transport.member import Member, Message, Ticket
from swarmdem.transport.mqtt import MqttLink


def new_member() -> Member:
    """Return a broker that is not connected: everything waits."""
    return Member(0, MqttLink("mqtt://127.0.0.1:1"), own=True)


def message(size_bytes: int) -> Message:
    return Message("news", bytes(size_bytes), False, Ticket())


async def test_the_newest_message_stays_however_long_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(members, "WAITING_BYTES_MAX", 10)
    member, short, long = new_member(), message(4), message(11)

    assert [member.offer(short), member.offer(long)] == [False, False]

    assert (member.dropped, list(member._waiting)) == (1, [long])
    with pytest.raises(TransportError, match="too much waits for this broker"):
        await short.ticket.taken()
    await member.close()


async def test_what_waits_is_given_up_when_the_broker_is() -> None:
    """Nobody may wait for ever, even if nothing was tried yet."""
    member, waiting = new_member(), message(1)
    member.offer(waiting)

    await member.close()

    with pytest.raises(TransportError, match="closed"):
        await waiting.ticket.taken()


async def test_a_message_that_comes_after_the_end_is_given_up_at_once() -> None:
    member, late = new_member(), message(1)
    await member.close()

    assert not member.offer(late)

    with pytest.raises(TransportError, match="closed"):
        await late.ticket.taken()
