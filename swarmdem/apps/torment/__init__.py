"""`swarmdem torment`: a swarm of real processes over real brokers, and a seeded schedule of disasters.

- settings, schedule: what shall happen, drawn from the seed before anything starts
- worker: one peer in a process of its own, to be killed
- crew, relays, network: the peers, the brokers, and a fault proxy between each two of them
- nemesis: does what the schedule says
- history: what was done and what every peer saw, line by line as it happened
- running: the run itself, from the founding to calm
- checker, promises, progress, resources: the invariants, checked offline from the history alone
- conclusion: rows for the run folder, the table, the exit code
"""
