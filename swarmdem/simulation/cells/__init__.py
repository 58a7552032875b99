"""Swarms in cells, simulated: the world, the checkers and the verdict that flat swarms do not need."""
