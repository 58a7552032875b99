"""A trace is text that depends on nothing but what happened."""

from swarmdem.identifiers import PeerId
from swarmdem.protocol.events import PeerSeen, Report
from swarmdem.simulation.trace import KEPT, Trace, record


def test_equal_lines_give_equal_hashes_and_another_line_another():
    first, second = Trace(), Trace(whole=True)
    for trace in (first, second):
        for number in range(2000):
            trace.line(number, 1, "wakes")

    assert first.digest() == second.digest()
    second.line(2000, None, "! over")
    assert first.digest() != second.digest()


def test_only_the_last_lines_are_kept_unless_all_are_asked_for():
    short, whole = Trace(), Trace(whole=True)
    for trace in (short, whole):
        for number in range(1000):
            trace.line(number, 0, "wakes")

    assert len(short.lines) == KEPT
    assert len(whole.lines) == 1000
    assert short.last(1) == ["999 0 wakes"]


def test_records_show_bytes_by_their_first_digits():
    report = Report(PeerSeen(PeerId(bytes.fromhex("0011223344556677") * 2), present=True))

    assert record(report.event) == "PeerSeen peer=00112233 present=True"
