"""The command `headrace`."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line and exit: 0 done, 1 the job failed, 2 bad usage, 3 refused, 4 not reachable."""
    try:
        import typer  # noqa: F401 -- the extra is not everybody's
    except ImportError:
        sys.stderr.write("The command line needs an extra: pip install 'headrace-client[cli]'\n")
        sys.exit(2)
    from headrace.client.cli.app import app

    app(prog_name="headrace")


if __name__ == "__main__":
    main()
