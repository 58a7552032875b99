"""Tensors: training, sketching, averaging, evaluating. torch is imported here and nowhere else.

Only `training`, `modules`, `models`, `objectives` and `optimizers` need torch: a peer with its own
training loop, or with `softmax`, runs without it. `building` imports them when a torch network is asked for.
"""
