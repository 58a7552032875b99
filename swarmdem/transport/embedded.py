"""The embedded broker's process: amqtt, for machines without mosquitto or nats-server.

`python -P .../embedded.py HOST PORT`, started by `brokers.start_broker`: by its file, so that nothing in
the current folder takes its place. Pure Python: good for a demo and a dozen peers, slow beyond (about a
third of mosquitto's messages). Anybody may connect; nothing is kept between runs; no `$SYS` topics.
"""

import asyncio
import logging
import signal
import sys
import warnings


async def serve(host: str, port: int) -> None:
    """Relay messages until SIGTERM or SIGINT."""
    from amqtt.broker import Broker  # noqa: PLC0415  (its deprecation warnings are silenced first)

    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    broker = Broker(
        {
            "listeners": {"default": {"type": "tcp", "bind": address}},
            "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
        }
    )
    stop = asyncio.Event()
    for each in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(each, stop.set)
    await broker.start()
    await stop.wait()
    await broker.shutdown()


def main() -> None:
    """Read the address from the command line and serve it."""
    warnings.simplefilter("ignore")
    logging.basicConfig(level=logging.ERROR)
    asyncio.run(serve(sys.argv[1], int(sys.argv[2])))


if __name__ == "__main__":
    main()
