"""Where time passes: the asyncio shell around the protocol core, the disk, the trainer's thread."""
