"""Where time passes: the asyncio shell around the protocol core, and `Peer`, what users hold.

Clocks, threads, disks and sockets are met here. Nothing here decides anything two peers must agree on.
"""
