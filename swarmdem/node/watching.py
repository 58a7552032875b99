"""What a change of the link means: for the core, for downloads, and for people."""

import logging
from collections.abc import Callable
from typing import Protocol

from swarmdem.protocol.events import Degraded, LinkChanged, Recovered
from swarmdem.transport.base import NOT_YET, LinkState

_log = logging.getLogger("swarmdem.node.watching")

TROUBLES_MAX = 16
"""Reasons for one outage that are told."""


class Waiting(Protocol):
    """Waits for something from the link."""

    def link_changed(self, *, up: bool) -> None:
        """Take note that the link came up or went down."""


class LinkWatch:
    """Follows one port's link.

    Args:
        deliver: Takes the core's input.
        downloads: Told of it too.
        report: Told what people should know.
    """

    def __init__(
        self,
        *,
        deliver: Callable[[LinkChanged], None],
        downloads: Waiting,
        report: Callable[[Degraded | Recovered], None],
    ) -> None:
        self.up: bool | None = None
        self._deliver = deliver
        self._downloads = downloads
        self._report = report
        self._troubles: dict[str, None] = {}

    def changed(self, state: LinkState) -> None:
        """Take note of the link's state; a broker that joined is to be greeted like a new link."""
        if state.up != self.up:
            self._downloads.link_changed(up=state.up)
        if state.up != self.up or state.joined:
            self._deliver(LinkChanged(state.up))
        self.up = state.up
        if not state.up:
            if state.reason != NOT_YET:  # the usual first state of a link, no news for anybody
                self._degraded(f"no connection to the broker: {state.reason}")
            return
        wrong = [f"running without {broker}" for broker in state.away]
        for trouble in [trouble for trouble in self._troubles if trouble not in wrong]:
            self._recovered(trouble)
        for what in wrong:
            self._degraded(what)

    def _degraded(self, what: str) -> None:
        if what not in self._troubles and len(self._troubles) < TROUBLES_MAX:
            self._troubles[what] = None
            _log.warning("broker_unreachable reason=%s", what)
            self._report(Degraded(what))

    def _recovered(self, what: str) -> None:
        del self._troubles[what]
        _log.warning("broker_back after=%s", what)
        self._report(Recovered(what))
