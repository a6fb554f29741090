"""What a run has to say: tables as it goes, and at the end the figures that have a limit."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from benchmarks.plot import Chart


class BenchError(Exception):
    """Something could not be started or measured; the text says what and why."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A measured number beside what it must be (``limit``) and what it should be (``aim``)."""

    name: str
    value: float
    limit: float
    aim: float | None = None
    at_least: bool = False  # or at most

    @property
    def met(self) -> bool:
        """Whether the limit is kept."""
        return self.value >= self.limit if self.at_least else self.value <= self.limit


@dataclass
class Report:
    """Collects. ``data`` becomes the JSON: a part's name, and what it measured."""

    data: dict[str, object] = field(default_factory=dict)
    figures: list[Figure] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)
    charts: list[Chart] = field(default_factory=list)

    @contextlib.contextmanager
    def trouble(self, what: str) -> Iterator[None]:
        """Go on without this when it cannot be had, and say so at the end."""
        try:
            yield
        except (BenchError, OSError, subprocess.SubprocessError) as exc:
            self.troubles.append(f"{what}: {reason(exc)}")
            progress(f"NOT MEASURED: {self.troubles[-1]}")

    def print_figures(self) -> None:
        """Name, figure, limit, aim, met or missed."""
        rows = []
        for figure in self.figures:
            bound = ">=" if figure.at_least else "<="
            aim = "" if figure.aim is None else f"{bound} {figure.aim:g}"
            verdict = "met" if figure.met else "MISSED"
            rows.append([figure.name, f"{figure.value:.2f}", f"{bound} {figure.limit:g}", aim, verdict])
        table("What must be", ["", "figure", "limit", "aim", ""], rows)


def reason(exc: Exception) -> str:
    """The exception in words, with what a failed program had to say."""
    said = getattr(exc, "stderr", None) or b""
    text = said.decode(errors="replace") if isinstance(said, bytes) else str(said)
    return f"{exc} {text.strip()}".strip()


def progress(text: str) -> None:
    """One line for whoever waits; the data goes to standard output."""
    sys.stderr.write(f"bench: {text}\n")
    sys.stderr.flush()


def table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows: the first column to the left, numbers to the right."""
    columns = list(zip(*[head, *rows], strict=True))
    widths = [max(map(len, column)) for column in columns]
    lines = [f"\n{title}\n"]
    for row in (head, *rows):
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        lines.append("  ".join(cells).rstrip() + "\n")
    sys.stdout.write("".join(lines))
    sys.stdout.flush()


def ratio(value: float, base: float) -> str:
    """As a cell: two figures where it is small."""
    found = value / base
    return f"{found:.2f}" if found < 10 else f"{found:.1f}" if found < 100 else f"{found:.0f}"
