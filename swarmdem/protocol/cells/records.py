"""What is on disk of all cores of a peer in cells: each has keys that begin with its own name.

Where the shell says that records were lost (`restart.DOUBT`), every core of this life doubts what it may have
voted. The cell's core is soon reassured. In the region this peer may not even speak then, or cease to before
it is reassured there: that doubt has a record of its own, which goes when the region's core says so.
"""

from collections.abc import Mapping

from swarmdem.protocol.events import Persist
from swarmdem.protocol.restart import DOUBT

REGION = "region"
"""What the keys of the core in the region begin with."""


class Records:
    """The records in force.

    Args:
        stored: What is on disk.
    """

    def __init__(self, stored: Mapping[str, bytes]) -> None:
        self._stored = dict(stored)
        self._sure_in_region = False
        """The region's core was reassured in this life of the process."""

    def get(self, key: str) -> bytes:
        """Return a record; empty when there is none."""
        return self._stored.get(key, b"")

    def of(self, prefix: str) -> dict[str, bytes]:
        """Return the records of the core whose keys begin with *prefix*, by its own keys."""
        found = self._stored.items()
        own = {key.removeprefix(prefix): value for key, value in found if key.startswith(prefix)}
        return own | ({DOUBT: self._stored[DOUBT]} if DOUBT in self._stored else {})

    def write(self, key: str, value: bytes) -> Persist:
        """Change a record; an empty value deletes it."""
        if value:
            self._stored[key] = value
        else:
            self._stored.pop(key, None)
        return Persist(key, value)

    def in_region(self, key: str, value: bytes) -> Persist:
        """Change a record of the core in the region."""
        self._sure_in_region = self._sure_in_region or key == DOUBT
        return self.write(f"{REGION}-{key}", value)

    def cell_reassured(self) -> list[Persist]:
        """End the doubt of the cell's core; the region's goes on, unless that core was reassured before."""
        goes_on = DOUBT in self._stored and not self._sure_in_region
        kept = [self.write(f"{REGION}-{DOUBT}", self._stored[DOUBT])] if goes_on else []
        return [*kept, self.write(DOUBT, b"")]

    def drop(self, prefix: str) -> list[Persist]:
        """Delete all records whose keys begin with *prefix*."""
        return [self.write(key, b"") for key in sorted(self._stored) if key.startswith(prefix)]
