"""Entry point of `python -m lossbench.cli`."""

from lossbench.cli.main import main

main()
