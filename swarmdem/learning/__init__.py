"""Tensors: training, sketching, averaging, evaluating. torch is imported here and nowhere else.

`learner`, `parameters`, `digest`, `aggregation`, `evaluation` and `datasets` need only numpy, so
that a peer with its own training loop runs without torch installed.
"""
