"""The picture: what each file operation costs on each file system, and how secretfs grows. Drawn by gnuplot."""

from collections.abc import Mapping, Sequence
from typing import Final

_HEAD: Final = """set terminal pngcairo size 1500,{height} font ",10"
set output "{path}"
set multiplot layout {rows},1
set style data histogram
set style histogram clustered gap 2
set style fill solid 0.85 noborder
set logscale y
set yrange [0.2:*]
set xtics rotate by -20
set grid ytics
set key outside right top
"""


def script(path: str, charts: Sequence["Chart"]) -> str:
    """What has gnuplot draw a PNG with one chart below the other."""
    head = _HEAD.format(height=420 * len(charts), path=path, rows=len(charts))
    drawn = [chart.commands(f"$chart{number}") for number, chart in enumerate(charts)]
    return "\n".join([head, *drawn, "unset multiplot\n"])


class Chart:
    """Bars: for each group (below the axis) one for each series (in the key)."""

    def __init__(self, title: str, axis: str, bars: Mapping[str, Mapping[str, float | None]]) -> None:
        """bars: group → series → value."""
        self._title = title
        self._axis = axis
        self._bars = bars

    def commands(self, block: str) -> str:
        """For gnuplot; the data in a block of that name."""
        there = [name for values in self._bars.values() for name, value in values.items() if value is not None]
        series = list(dict.fromkeys(there))
        lines = [_row([group, *(values.get(name) for name in series)]) for group, values in self._bars.items()]
        plots = [
            f'{block} using {column + 2}{":xtic(1)" if column == 0 else ""} title "{name}"'
            for column, name in enumerate(series)
        ]
        data = "\n".join([f"{block} << EOD", *lines, "EOD"])
        frame = f'set title "{self._title}"\nset ylabel "{self._axis}"\nset xrange [-0.7:{len(lines) - 0.3}]'
        return f"{data}\n{frame}\nplot {', '.join(plots)}"


def _row(cells: Sequence[str | float | None]) -> str:
    """Text in quotes; what is missing is no number, which draws no bar."""
    words = ["NaN" if cell is None else f'"{cell}"' if isinstance(cell, str) else f"{cell:.6g}" for cell in cells]
    return " ".join(words)
