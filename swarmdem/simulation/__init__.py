"""A swarm in one thread under one seed: virtual time, bad weather, faults, checkers, traces.

`world.World` interprets the effects of real `protocol.core.Core`s, as `node.driver` does, but with
pretended time, disks, brokers and models. `runs.run` plays one seed to its end. What is real: the
core and every byte of its frames. What is pretended: signatures (a keyed hash, so that a run costs
microseconds per frame), tensors (four numbers), chunks (a blob arrives whole or not at all).
"""
