"""Faults are data: they print as one line and say by themselves whom they make liars."""

from swarmdem.identifiers import SECOND
from swarmdem.simulation import faults
from swarmdem.simulation.faults import Fault, Kind


def test_a_fault_prints_as_one_line():
    fault = Fault(Kind.CUT, 1_500_000, 3 * SECOND, (0, 2), 1.0, (1,))

    assert str(fault) == "cut 1.500-3.000 s peers 0,2 brokers 1 amount 1"


def test_the_last_end_of_no_faults_is_the_beginning():
    assert faults.last_end(()) == 0


def test_liars_are_the_peers_of_lies_and_of_nothing_else():
    told = (Fault(Kind.KILL, 0, 1, (1, 2)), Fault(Kind.REPLAY, 0, 1, (3,)), Fault(Kind.FORGET, 0, 1, (4,)))

    assert faults.liars(told) == {3, 4}
