"""Jobs of one peer: where they run, when their answer is called, what happens to failures and on leaving."""

import asyncio
import threading
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from swarmdem.node.jobs import Jobs


@pytest.fixture
def threads():
    with ThreadPoolExecutor(1, "beside") as executor:
        yield executor


async def soon(answers):
    async with asyncio.timeout(10):
        return await answers.get()


def here():
    return threading.current_thread().name


async def test_a_job_runs_in_its_thread_and_is_answered_on_the_loop(threads):
    answers = asyncio.Queue()
    Jobs(pytest.fail).begin(threads, here, lambda where: answers.put_nowait((where, here())))
    assert await soon(answers) == ("beside_0", "MainThread")


async def test_a_job_without_a_thread_is_done_at_once_and_answered_in_a_later_turn():
    answers, done = [], []
    Jobs(pytest.fail).begin(None, lambda: done.append(here()), answers.append)
    assert (done, answers) == (["MainThread"], [])
    await asyncio.sleep(0)
    assert answers == [None]


@pytest.mark.parametrize("beside", [True, False])
async def test_a_job_that_fails_is_told_of_and_not_answered(threads, beside):
    failures = asyncio.Queue()

    def work():
        raise ValueError("seven")

    Jobs(failures.put_nowait).begin(threads if beside else None, work, lambda _: pytest.fail("answered"))
    assert str(await soon(failures)) == "seven"


@pytest.mark.parametrize("beside", [True, False])
async def test_what_ends_after_the_peer_left_is_not_answered(threads, beside):
    jobs = Jobs(pytest.fail)
    release, answers = threading.Event(), []
    jobs.begin(threads if beside else None, release.wait if beside else here, answers.append)
    asyncio.get_running_loop().call_soon(release.set)
    await jobs.close()
    jobs.begin(None, lambda: pytest.fail("begun"), answers.append)
    await asyncio.sleep(0)
    assert answers == []


async def test_closing_drops_what_waits_and_waits_for_what_runs(threads):
    jobs = Jobs(pytest.fail)
    begun, release, done = threading.Event(), threading.Event(), []

    def work():
        begun.set()
        release.wait(10)
        done.append("ran")

    jobs.begin(threads, work, lambda _: None)
    waiting = jobs.follow(threads.submit(done.append, "waited"), lambda _: None)
    assert begun.wait(10)
    closing = asyncio.ensure_future(jobs.close())
    await asyncio.sleep(0)
    assert not closing.done()
    release.set()
    await closing
    assert (done, waiting.cancelled()) == (["ran"], True)


async def test_a_job_cancelled_elsewhere_is_not_answered():
    jobs, answers = Jobs(pytest.fail), []
    job = jobs.follow(Future(), answers.append)
    job.cancel()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert answers == []
