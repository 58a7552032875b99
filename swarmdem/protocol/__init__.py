"""Decisions: pure and deterministic. No clock, no chance, no socket, no thread, no tensor.

One peer is one `core.Core`. Inputs go in through `handle(event, now)`, effects come out in the
order in which they must be performed; `next_wakeup()` is the only timer. The shell (`node.driver`)
and the simulation (`simulation.world`) are two interpreters of the same effects.

A round, in the order of the modules: `membership` (who is there), `agreement` (which digests
count), `forming` and `hierarchy` (who is grouped with whom), `election` (who aggregates),
`update` (averages up, mixtures down).
"""
