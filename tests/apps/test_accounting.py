"""CPU and memory as the operating system counts them."""

import os
import subprocess
import sys

from swarmdem.apps.accounting import Costs, cpu_seconds, pss_bytes

NOBODY = 2**22 + 1  # above the largest process id of Linux


def test_a_process_that_is_gone_costs_nothing_more():
    assert cpu_seconds(NOBODY) == 0.0
    assert pss_bytes(NOBODY) == 0


def test_costs_keep_what_an_ended_process_used():
    child = subprocess.Popen(
        [sys.executable, "-c", "sum(range(10**7)); print('done', flush=True); input()"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    costs = Costs()
    costs.watch(child.pid)
    child.stdout.readline()
    used = costs.cpu_s()
    costs.sample_memory()
    child.communicate(b"\n")

    assert used > 0.05
    assert costs.cpu_s() == used
    assert costs.peak_pss_bytes > 2**20


def test_this_process_has_memory():
    assert pss_bytes(os.getpid()) > 2**20
