"""`python -m agentlip`: the command line."""

from .cli.main import main

main()
