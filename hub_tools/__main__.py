"""Lets `python -m hub_tools` stand in for the command `backforth`."""

from hub_tools.cli import main

main()
