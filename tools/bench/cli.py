"""``scanside-bench NAME``: run one benchmark."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from tools.bench import chain, change, console, delivery, engines, intake_tls, quality, results
from tools.bench.report import Row, write
from tools.broker import BrokerStartError
from tools.postgres import PostgresStartError
from tools.scanner import SendError
from tools.site import SiteError

BENCHMARKS: dict[str, tuple[str, Callable[[bool], list[Row]]]] = {
    "chain": ("from the scanner's last byte to the alert at central", chain.run),
    "change": ("lesion change between two studies, where readers know it", change.run),
    "console": ("how long people wait for the console, in a real browser", console.run),
    "delivery": ("whether an alert is ever lost, and how long it takes", delivery.run),
    "intake-tls": ("how fast images come in over TLS, beside DCMTK's storescp", intake_tls.run),
    "quality": ("the image quality flags on real images and on worse copies", quality.run),
    "results": ("how soon a report is in the PACS, and what a PACS costs the alerts", results.run),
    "engines": ("fp32, fp16 and int8 of each model beside plain ONNX Runtime", engines.run),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a benchmark; return 0 when it was measured, 1 when it could not be."""
    parser = argparse.ArgumentParser(
        prog="scanside-bench", description="Measures Scanside beside its peers, in one run."
    )
    parser.add_argument(
        "name", choices=BENCHMARKS, help="; ".join(f"{k}: {v[0]}" for k, v in BENCHMARKS.items())
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures as JSON")
    parser.add_argument("--quick", action="store_true", help="a tenth of the size")
    options = parser.parse_args(arguments)
    _, run = BENCHMARKS[options.name]
    try:
        rows = run(options.quick)
    except KeyboardInterrupt:
        return 130
    except (BrokerStartError, PostgresStartError, SiteError, SendError) as error:
        print(f"scanside-bench: {error}", file=sys.stderr)
        return 1
    write(options.name, rows, options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
