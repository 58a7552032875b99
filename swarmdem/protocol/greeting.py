"""Hello, welcome and refusal: how a newcomer meets a swarm, and learns that it brought another charter."""

from collections.abc import Collection

from swarmdem.errors import WireError
from swarmdem.identifiers import Micros, PeerId
from swarmdem.protocol.catchup import Catchup
from swarmdem.protocol.events import CharterRefused, Degraded, Effect, Reject, Report, Send
from swarmdem.protocol.plans import Base
from swarmdem.protocol.recent import Recent
from swarmdem.wire import charter as charters, codec, extensions
from swarmdem.wire.charter import Charter
from swarmdem.wire.frame import WIRE_VERSION, Frame, Sealer
from swarmdem.wire.messages import Certificate, Hello, Refusal, Welcome

REFUSALS_MAX = 64
"""Peers whose refusals are remembered."""


class Refusals:
    """Who says that this newcomer's charter differs, until it is believed.

    Anybody who hears a greeting can refuse it. So refusals are believed only once peers with our own
    charter had the time to be heard, and only when there are fewer of those than refuse.
    """

    def __init__(self, patience: Micros) -> None:
        self._believed_from = patience // 4
        self._settings: dict[PeerId, tuple[str, ...]] = {}

    def add(self, sender: PeerId, settings: tuple[str, ...]) -> None:
        """Note a refusal."""
        if len(self._settings) < REFUSALS_MAX:
            self._settings.setdefault(sender, settings)

    @property
    def any(self) -> bool:
        """Whether anybody refused."""
        return bool(self._settings)

    def judged(self, alike: Collection[PeerId], now: Micros) -> list[Effect]:
        """Report the first refusal if refusals are to be believed now.

        Args:
            alike: Peers in sight that have our charter.
            now: Connected time.
        """
        others = [peer for peer in self._settings if peer not in alike]
        if now < self._believed_from or len(others) <= len(alike):
            return []
        sender = others[0]
        settings, self._settings = self._settings[sender], {}
        return [Report(CharterRefused(sender, settings))]

    def deadlines(self, now: Micros) -> list[Micros]:
        """Return when `judged` has something to do."""
        return [self._believed_from] if self._settings and now < self._believed_from else []


def hello(charter: Charter, sealer: Sealer, nonce: bytes, brokers: bytes, base: Base) -> Frame:
    """Return this peer's greeting, which carries its charter in full, and the *brokers* it hosts."""
    stands_on = b"" if base.founding else base.id
    ext = ((extensions.BROKERS, brokers),) if brokers else ()
    return sealer.seal(Hello(charters.encode(charter), nonce, WIRE_VERSION, WIRE_VERSION, 0, stands_on, ext))


_encoded: Recent[Charter, bytes] = Recent()


def alike(charter: Charter, greeting: Hello) -> bool:
    """Return whether a *greeting* comes with the same charter."""
    ours = _encoded.get(charter, lambda: charters.encode(charter), about=charter.swarm.encode())
    return greeting.charter == ours


def answer(
    charter: Charter, sealer: Sealer, catchup: Catchup, base: Base, *, sender: PeerId, greeting: Hello
) -> list[Effect]:
    """Return the answer to a *greeting*: our certificate, or which settings differ, or nothing."""
    if not alike(charter, greeting):
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
