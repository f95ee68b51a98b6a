"""Entry point of `lossbench` and `python -m lossbench.cli`."""

from lossbench.cli.system import require_supported_system


def main() -> None:
    """Run the command line, on a supported system."""
    require_supported_system()
    # not before: it imports modules of the standard library that Windows lacks
    from lossbench.cli.main import main as run_command

    run_command()


if __name__ == "__main__":
    main()
