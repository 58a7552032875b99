"""Hello, welcome and refusal: how a newcomer meets a swarm, and learns that it brought another charter."""

from swarmdem.errors import WireError
from swarmdem.identifiers import PeerId
from swarmdem.protocol.catchup import Catchup
from swarmdem.protocol.events import Degraded, Effect, Reject, Report, Send
from swarmdem.protocol.plans import Base
from swarmdem.wire import charter as charters, codec, extensions
from swarmdem.wire.charter import Charter
from swarmdem.wire.frame import WIRE_VERSION, Frame, Sealer
from swarmdem.wire.messages import Certificate, Hello, Refusal, Welcome


def hello(charter: Charter, sealer: Sealer, nonce: bytes, brokers: bytes, base: Base) -> Frame:
    """Return this peer's greeting, which carries its charter in full, and the *brokers* it hosts."""
    stands_on = b"" if base.founding else base.id
    ext = ((extensions.BROKERS, brokers),) if brokers else ()
    return sealer.seal(Hello(charters.encode(charter), nonce, WIRE_VERSION, WIRE_VERSION, 0, stands_on, ext))


def answer(
    charter: Charter, sealer: Sealer, catchup: Catchup, base: Base, *, sender: PeerId, greeting: Hello
) -> list[Effect]:
    """Return the answer to a *greeting*: our certificate, or which settings differ, or nothing."""
    if greeting.charter != charters.encode(charter):
        return _refuse(charter, sealer, sender, greeting, answers=catchup.welcomes(base))
    behind = greeting.base == b"" or catchup.knows_older(greeting.base)
    if not behind or base.certificate is None or not catchup.welcomes(base):
        return []
    return [Send(sender, sealer.seal(Welcome(greeting.nonce, codec.encode_body(base.certificate))))]


def brought(welcome: Welcome, nonce: bytes, sender: PeerId) -> Certificate | Reject:
    """Return the certificate that a *welcome* brings to the peer that greeted with *nonce*."""
    if welcome.nonce != nonce:
        return Reject(sender, "welcome to somebody else")
    try:
        return codec.decode_body(Certificate, welcome.certificate)
    except WireError as error:
        return Reject(sender, f"certificate: {error}")


def _refuse(
    charter: Charter, sealer: Sealer, sender: PeerId, greeting: Hello, *, answers: bool
) -> list[Effect]:
    try:
        differing = charters.differences(charter, charters.decode(greeting.charter))
    except WireError as error:
        return [Reject(sender, str(error))]
    what = f"peer {sender.hex()} uses another charter; settings that differ: {', '.join(differing)}"
    effects: list[Effect] = [Report(Degraded(what, passing=True))]
    if answers:
        effects.append(Send(sender, sealer.seal(Refusal(greeting.nonce, differing[:64]))))
    return effects
