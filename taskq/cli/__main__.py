"""`python -m taskq.cli` does what `taskq` does."""

from taskq.cli.main import main

main()
