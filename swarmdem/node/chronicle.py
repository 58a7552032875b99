"""All that one peer tells: its journal, its streams of events, its troubles, and why rounds went wrong."""

from collections.abc import Callable
from pathlib import Path

from swarmdem.identifiers import PeerId, PlanId, Round
from swarmdem.node.counters import PeerCounters
from swarmdem.node.driver import NodeEvent
from swarmdem.node.explaining import Explainer, PeerEvent
from swarmdem.node.journal import Journal, journal_file
from swarmdem.node.streams import EventStream
from swarmdem.node.troubles import Trouble, Troubles
from swarmdem.protocol.status import RoundRecord


class Chronicle:
    """Tells of one peer.

    Args:
        patience_s: The charter's.
    """

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._journal = Journal(None)
        self._troubles = Troubles()
        self._explainer: Explainer | None = None
        self._streams: list[EventStream] = []

    @property
    def troubles(self) -> tuple[Trouble, ...]:
        """What is not as it should be now, the oldest first."""
        return self._troubles.open

    def open(self, path: Path | None, me: PeerId, part_bytes: int | None) -> None:
        """Begin to tell of *me*; the journal is at *path*, if any, in parts of *part_bytes*.

        Raises:
            StoreError: The journal cannot be opened.
        """
        self._journal = Journal(journal_file(path, me), part_bytes)
        self._explainer = Explainer(me, self._patience_s, self._troubles)

    def resume(self, plan: PlanId | None, round: Round) -> None:
        """Take note of the certificate that the peer stood on when it stopped."""
        if self._explainer is not None:
            self._explainer.resume(plan, round)

    def tell(self, event: NodeEvent, record: Callable[[], RoundRecord | None]) -> None:
        """Tell of *event*, and explain it where that is due.

        Args:
            event: What happened.
            record: Returns the evidence of the certificate the peer stands on.
        """
        self._troubles.note(event)
        self._put(event)
        if self._explainer is not None:
            for explained in self._explainer.note(event, record):
                self._put(explained)

    def traffic(self, round: Round, counters: PeerCounters) -> None:
        """Write what the peer sent, refused and lost since it was told last."""
        self._journal.note_traffic(round, counters)

    def stream(self) -> EventStream:
        """Return what is told from now on."""
        stream = EventStream()
        self._streams.append(stream)
        return stream

    def end(self, failure: BaseException | None) -> None:
        """End all streams; they raise *failure* if there is one."""
        for stream in self._streams:
            stream.close(failure)
        self._streams.clear()

    def close(self, failure: BaseException | None) -> None:
        """Tell why the peer leaves, and end."""
        if self._explainer is not None:
            self._put(self._explainer.left(failure))
        self.end(failure)
        self._journal.close()

    def _put(self, event: PeerEvent) -> None:
        self._journal.note(event)
        for stream in self._streams:
            stream.put(event)
