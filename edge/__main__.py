"""Where ``scanside`` begins: Ctrl-C is quiet from here on, also while the libraries are loaded."""

from __future__ import annotations

import sys


def main() -> int:
    """Run one command; see `edge.cli.main`."""
    try:
        from edge.cli import main as run  # noqa: PLC0415 - the second that it takes
    except KeyboardInterrupt:
        return 130
    return run()


if __name__ == "__main__":
    sys.exit(main())
