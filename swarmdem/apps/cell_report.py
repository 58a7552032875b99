"""What `swarmdem simulate --cells` tells of cells and region, beside what it tells of any swarm."""

from collections.abc import Iterator, Sequence

from swarmdem.identifiers import SECOND
from swarmdem.simulation.runs import Outcome


def cells_told(outcomes: Sequence[Outcome]) -> Iterator[str]:
    """Yield the lines about cells: sizes, rounds of the region, control bytes by peer and round."""
    told = [outcome.cells for outcome in outcomes if outcome.cells is not None]
    sizes = sorted(size for figures in told for size in figures.sizes)
    if not sizes:
        return
    regions = sum(figures.region_rounds for figures in told)
    yield (
        f"cells at the end {len(sizes)}, peers in one least {sizes[0]}, median {quantile(sizes, 0.5)},"
        f" most {sizes[-1]}; moves to another cell {sum(figures.moves for figures in told)}"
    )
    yield f"rounds of the region {regions}, of a cell {sum(figures.rounds for figures in told):.1f}"
    found = sorted(figures.first_in_common / SECOND for figures in told if figures.first_in_common)
    if found:
        yield (
            f"virtual time until all cells were certified and in one round of the region"
            f" p50 {quantile(found, 0.5):.1f} s, longest {found[-1]:.1f} s"
        )
    times = sorted(at / SECOND for figures in told for at in figures.agreement)
    if times:
        yield (
            f"in the region, virtual time from freeze to last adopter p50 {quantile(times, 0.5):.2f} s,"
            f" p95 {quantile(times, 0.95):.2f} s"
        )
    for what, lists in (
        ("bytes sent", [figures.sent for figures in told]),
        ("frames sent", [figures.said for figures in told]),
        ("bytes received", [figures.received for figures in told]),
        ("frames received", [figures.heard for figures in told]),
    ):
        all_of_them = sorted(count for counts in lists for count in counts)
        yield (
            f"control {what} per peer and round of its cell median {quantile(all_of_them, 0.5):.0f},"
            f" most {all_of_them[-1]:.0f}"
        )


def quantile(ordered: Sequence[float], share: float) -> float:
    """Return the value below which *share* of the sorted numbers lie (nearest rank)."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
