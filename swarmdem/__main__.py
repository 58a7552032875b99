"""`python -m swarmdem`: the command line."""

from swarmdem.apps.cli import main

main()
