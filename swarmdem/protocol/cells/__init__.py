"""Cells and regions: thousands of peers as flat swarms of similar ones, whose root models are combined.

A cell is a flat swarm of at most some hundreds of peers; the region is a flat swarm whose members are the
cells. Each runs the protocol of `protocol/core.py` under a charter that follows from the swarm's own
(`charters`). `cells.core` puts the two together at one peer; what it decides is in the other modules.
"""
