"""Defaults that are needed where neither torch nor numpy is loaded."""

LEARNING_RATES = {"sgd": 0.05, "adam": 0.001}
"""By optimizer. sgd: the DemLearn authors' code; adam: torch's."""
HOLDOUT_SEED = 7
"""Of what is held out for tuning."""
