"""A swarm in one thread under one seed: virtual time, bad weather, faults, checkers, traces."""
