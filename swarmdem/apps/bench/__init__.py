"""`swarmdem bench`: what things cost on this machine, as a table and as JSON."""
