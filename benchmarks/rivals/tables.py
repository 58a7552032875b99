"""Records of runs as a table in Markdown: medians over repetitions, ratios to our own."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

HEAD = (
    "system", "N", "s a round", "ratio", "CPU s a round", "ratio", "peak PSS MB", "ratio",
    "MB sent a round", "first round after s", "accuracy",
)  # fmt: skip
RATED = ("steady_s", "steady_cpu_s", "peak_pss_mb")
Record = Mapping[str, Any]


def medians(records: Sequence[Record]) -> dict[str, Any]:
    """Return the middle figures of repetitions of one run; `failed` when all of them did."""
    good = [record for record in records if not record["failed"]]
    if not good:
        return {"failed": records[0]["failed"]}
    keys = {key for record in good for key in record if isinstance(record[key], (int, float))}
    found: dict[str, Any] = {
        key: statistics.median(record[key] for record in good if record.get(key) is not None)
        for key in sorted(keys)
    }
    found["first_s"] = statistics.median(record["whole_s"] - sum(record["seconds"][1:]) for record in good)
    found["failed"] = ""
    found["failures"] = len(records) - len(good)
    return found


def table(records: Iterable[Record], order: Sequence[str], reference: str) -> str:
    """Return the table and, below it, a line for everything that failed or needed help.

    Args:
        records: Of all runs.
        order: Names of systems, the first on top.
        reference: Whose figures are 1 in the ratios, at the same number of peers.
    """
    grouped: dict[tuple[int, str], list[Record]] = {}
    for record in records:
        grouped.setdefault((record["peers"], record["system"]), []).append(record)
    places = {name: place for place, name in enumerate(order)}
    rows, remarks = [HEAD, ("---",) * len(HEAD)], []
    for (peers, _), found in sorted(grouped.items(), key=lambda item: (item[0][0], places[item[0][1]])):
        figures = medians(found)
        base = medians(grouped[peers, reference]) if (peers, reference) in grouped else {}
        title = found[0]["title"]
        if figures["failed"]:
            rows.append((title, str(peers), "failed", *[""] * (len(HEAD) - 3)))
            remarks.append(f"- {title}, N = {peers}: {figures['failed']}")
            continue
        rows.append((title, str(peers), *_cells(figures, base)))
        if figures["failures"]:
            remarks.append(
                f"- {title}, N = {peers}: {figures['failures']} of {len(found)} runs failed: "
                + next(record["failed"] for record in found if record["failed"])
            )
    remarks += dict.fromkeys(
        f"- {found[0]['title']}: {found[0]['shims']}" for found in grouped.values() if found[0].get("shims")
    )
    return "\n".join([*("| " + " | ".join(row) + " |" for row in rows), "", *remarks]).rstrip() + "\n"


def _cells(figures: Mapping[str, Any], base: Mapping[str, Any]) -> list[str]:
    cells = []
    for key in RATED:
        cells.append(_number(figures.get(key), 0 if key == "peak_pss_mb" else 2))
        both = figures.get(key) and base.get(key)
        cells.append(_number(figures[key] / base[key], 2) if both else "")
    sent = figures.get("bytes_per_round")
    cells.append(_number(sent / 1e6, 1) if sent else "not counted")
    cells.append(_number(figures.get("first_s"), 1))
    cells.append(_number(figures.get("accuracy"), 3))
    return cells


def _number(value: float | None, digits: int) -> str:
    """Return a number as the pages of this project write it: .5, not 0.5."""
    if value is None:
        return ""
    text = f"{value:.{digits}f}"
    return text[1:] if text.startswith("0.") else text
