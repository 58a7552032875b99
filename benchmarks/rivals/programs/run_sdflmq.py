"""The workload on SDFLMQ: a coordinator and a process per client, over mosquitto on this machine.

The clients follow its documentation: one creates the session, the others join, and each trains, sends
its model and waits for the global one. They are forked from one process, so that they share the memory of
torch's code. Bytes are what the broker took in, as it counts itself.
"""

import contextlib
import io
import multiprocessing
import os
import shutil
import socket
import subprocess
import tempfile
import time
from datetime import timedelta
from pathlib import Path

import paho.mqtt.client as mqtt
import task
import torch
from sdflmq import DFLMQ_Coordinator, SDFLMQ_Client

SESSION = "workload"
HOST = "127.0.0.1"
BROKER = """\
listener {port} {host}
allow_anonymous true
persistence false
sys_interval 1
set_tcp_nodelay true
max_queued_messages 100000
max_inflight_messages 100
"""


def free_port():
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]


def until_it_listens(port):
    """Wait for the broker."""
    for _ in range(500):
        with contextlib.suppress(OSError), socket.create_connection((HOST, port), timeout=1):
            return
        time.sleep(0.02)
    raise SystemExit("mosquitto does not listen")


def bytes_in(port):
    """Ask the broker how many bytes it has received."""
    found = []
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
    client.on_message = lambda _client, _data, message: found.append(int(message.payload))
    client.connect(HOST, port)
    client.subscribe("$SYS/broker/bytes/received")
    ends = time.monotonic() + 5
    while len(found) < 2 and time.monotonic() < ends:  # the first may be a second old
        client.loop(0.1)
    client.disconnect()
    return found[-1] if found else None


def coordinate(port):
    """Be the coordinator, for ever."""
    with contextlib.redirect_stdout(io.StringIO()):
        DFLMQ_Coordinator(
            myID="coordinator", broker_ip=HOST, broker_port=port, loop_forever=True, plot_stats=False
        )


def contribute(number, options, port, told):
    """Be a client; tell of each round, then of the accuracy of its last model."""
    torch.set_num_threads(1)
    data = task.Data(options.data)
    model = task.network()
    x, y = data.of(number)
    with contextlib.redirect_stdout(io.StringIO()):
        client = SDFLMQ_Client(
            myID=f"client_{number}", broker_ip=HOST, broker_port=port, preferred_role="aggregator",
            loop_forever=False,
        )  # fmt: skip
        wanted = {
            "session_id": SESSION, "fl_rounds": options.rounds, "model_name": "mlp",
            "preferred_role": "aggregator",
        }  # fmt: skip
        if number == 0:
            client.create_fl_session(
                session_time=timedelta(hours=1), session_capacity_min=options.peers,
                session_capacity_max=options.peers, waiting_time=timedelta(minutes=10), **wanted,
            )  # fmt: skip
            told.put(("created", number, None))
        else:
            client.join_fl_session(**wanted)
        for round in range(1, options.rounds + 1):
            task.train(model, x, y)
            client.set_model(SESSION, model)
            client.send_local(SESSION)
            client.wait_global_update()
            told.put(("round", number, round))
        ends = time.monotonic() + 2  # what it still has to say must leave
        while time.monotonic() < ends:
            client.oneshot_loop()
    told.put(("accuracy", number, task.accuracy(model, *data.tests(options.peers))))


def run(options, port):
    """Start everybody and follow the rounds."""
    fork = multiprocessing.get_context("fork")
    told = fork.Queue()
    coordinator = fork.Process(target=coordinate, args=(port,), daemon=True)
    coordinator.start()
    time.sleep(1)  # there is no sign that it has subscribed
    started = [fork.Process(target=contribute, args=(0, options, port, told), daemon=True)]
    started[0].start()
    told.get()
    task.mark(event="start")
    for number in range(1, options.peers):
        started.append(fork.Process(target=contribute, args=(number, options, port, told), daemon=True))
        started[-1].start()
    ended, right = dict.fromkeys(range(1, options.rounds + 1), 0), []
    while len(right) < options.peers:
        what, _, value = told.get()
        if what == "accuracy":
            right.append(value)
            continue
        ended[value] += 1
        if ended[value] == options.peers:
            task.mark(event="round", round=value)
    received = bytes_in(port)
    coordinator.kill()
    task.mark(
        event="done", accuracy=sum(right) / len(right),
        bytes_per_round=None if received is None else received / options.rounds,
    )  # fmt: skip


def main():
    """Run the rounds."""
    options = task.arguments()
    task.seed_all(0)
    mosquitto = shutil.which("mosquitto", path=os.environ["PATH"] + ":/usr/sbin:/usr/local/sbin")
    if mosquitto is None:
        raise SystemExit("mosquitto is not installed")
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)  # it writes a folder for every client where it runs
        port = free_port()
        settings = Path(folder) / "mosquitto.conf"
        settings.write_text(BROKER.format(port=port, host=HOST))
        broker = subprocess.Popen([mosquitto, "-c", str(settings)], stderr=subprocess.DEVNULL)
        try:
            until_it_listens(port)
            run(options, port)
        finally:
            broker.terminate()
            broker.wait()


if __name__ == "__main__":
    main()
