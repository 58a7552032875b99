"""What a run of a swarm in cells came to, beside what is counted of a flat one."""

from dataclasses import dataclass, field

from swarmdem.identifiers import Micros, Round


@dataclass(slots=True)
class CellFigures:
    """Counts of one run."""

    sizes: list[int] = field(default_factory=list)
    """Live peers of each cell at the end, ascending."""
    region_rounds: Round = 0
    """Highest round of the region that all cells reached."""
    moves: int = 0
    """Times a peer left one cell for another."""
    first_in_common: Micros = 0
    """From the start until every peer was in a certified cell and all cells in one round of the region."""
    agreement: list[Micros] = field(default_factory=list)
    """Freeze to last adopter in the region, one per normal certificate."""
    rounds: float = 0.0
    """Rounds that a peer finished in its cell, on the average."""
    sent: list[float] = field(default_factory=list)
    """Control bytes each peer sent per round of its cell, ascending, once the swarm was whole; no models."""
    said: list[float] = field(default_factory=list)
    """Control frames each peer sent per round of its cell, ascending."""
    received: list[float] = field(default_factory=list)
    """Control bytes that reached each peer per round of its cell, ascending."""
    heard: list[float] = field(default_factory=list)
    """Control frames that reached each peer per round of its cell, ascending."""
