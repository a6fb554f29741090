"""``scripts/bench``: the options, the parts in their order, the exit code."""

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from benchmarks import attach, files, live, memory, secrets
from benchmarks.plot import script
from benchmarks.report import Report, progress
from benchmarks.scale import FULL, QUICK, Scale
from benchmarks.work import Work, run, work

INTERRUPTED: Final = 130

PARTS: Final[dict[str, Callable[[Work, Scale, Report], None]]] = {
    "files": files.measure,
    "attach": attach.measure,
    "live": live.measure,
    "secrets": secrets.measure,
    "memory": memory.measure,
}


def main() -> int:
    """Measure what was asked for. 0: all of it was; 1: something could not be, and the end of the output says what."""
    options = _options()
    report, began = Report(), time.monotonic()
    try:
        with work() as place:
            for part in options.only:
                progress(f"part {part}")
                with report.trouble(part):
                    PARTS[part](place, QUICK if options.quick else FULL, report)
    except KeyboardInterrupt:
        progress("interrupted: all that was started is stopped, nothing is written")
        return INTERRUPTED
    report.print_figures()
    options.out.mkdir(parents=True, exist_ok=True)
    with report.trouble("the plot"):
        _draw(report, options.out)
    _write(report, options.out, time.monotonic() - began)
    for trouble in report.troubles:
        progress(f"error: not measured: {trouble}")
    return 1 if report.troubles else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/bench",
        description="Measure secretfs beside its peers, and print ratios of medians. It needs root, and installs the "
        "Debian packages of the peers when they are missing.",
    )
    parser.add_argument("--quick", action="store_true", help="few rounds, fewer secrets and tasks: a few minutes")
    names = ",".join(PARTS)
    parser.add_argument("--only", type=_parts, default=list(PARTS), metavar="PART[,PART]", help=f"some of {names}")
    default = Path(tempfile.gettempdir()) / "secretfs-bench"
    parser.add_argument(
        "--out", type=Path, default=default, metavar="DIR", help=f"for JSON and plot (default {default})"
    )
    return parser.parse_args()


def _parts(text: str) -> Sequence[str]:
    names = text.split(",")
    if unknown := [name for name in names if name not in PARTS]:
        raise argparse.ArgumentTypeError(f"no such part: {unknown[0]!r}; there are {', '.join(PARTS)}")
    return [name for name in PARTS if name in names]


def _draw(report: Report, directory: Path) -> None:
    if report.charts:
        path = directory / "bench.png"
        run(["gnuplot"], data=script(str(path), report.charts).encode())
        sys.stdout.write(f"\n{path}")


def _write(report: Report, directory: Path, seconds: float) -> None:
    """The JSON, with the absolute times."""
    machine = {"kernel": platform.release(), "processors": len(os.sched_getaffinity(0)), "load": os.getloadavg()}
    figures = [
        {"name": figure.name, "figure": figure.value, "limit": figure.limit, "aim": figure.aim, "met": figure.met}
        for figure in report.figures
    ]
    found = {"seconds": seconds, "machine": machine, "figures": figures, "not measured": report.troubles, **report.data}
    path = directory / "bench.json"
    path.write_text(json.dumps(found, indent=1) + "\n")
    sys.stdout.write(f"\n{path}\n")


if __name__ == "__main__":
    sys.exit(main())
