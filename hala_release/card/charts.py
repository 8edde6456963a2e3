"""Charts of a card, in light and dark; the table beside them says the same in text. The only import of matplotlib."""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from hala_release.card.scores import Table

NAMES = ("assets/scores-light.png", "assets/scores-dark.png")
SHOWN = 24
"""Scores in one chart; the table has them all."""


class _Colours(NamedTuple):
    paper: str
    ink: str
    grid: str
    points: tuple[str, ...]
    """Told apart by people with any kind of colour vision (Okabe and Ito), and by their marks."""


_LIGHT = _Colours("#ffffff", "#1f2328", "#d0d7de", ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#7f7f7f"))
_DARK = _Colours("#0d1117", "#e6edf3", "#30363d", ("#56b4e9", "#e69f00", "#4fd1a5", "#e3a6cc", "#b0b0b0"))
_MARKS = "oDs^v"


def alt(table: Table, title: str, *, where: str = "below") -> str:
    """Return the chart in words; `where` is the table, from the chart."""
    names = ", ".join([title, *(other.name for other in table.others)])
    tasks = ", ".join(dict.fromkeys(line.score.title for line in table.lines[:SHOWN]))
    return f"Scores of {names} on {tasks}, with {table.level} intervals; the table {where} has the numbers."


def alt_in_arabic(table: Table, title: str) -> str:
    """Return the same in Arabic, for a chart below its table."""
    names = "، ".join([title, *(other.name for other in table.others)])
    tasks = "، ".join(dict.fromkeys(line.score.title for line in table.lines[:SHOWN]))
    return f"درجات {names} في {tasks}، مع مجالات الثقة {table.level}؛ الأرقام في الجدول أعلاه."


def draw(table: Table, title: str) -> dict[str, bytes]:
    """Return the chart as PNG by path: the same scores give the same bytes, with the same version of matplotlib."""
    import matplotlib

    with matplotlib.rc_context({"text.parse_math": False}):  # a `$` in a title is a dollar
        return {name: _png(table, title, colours) for name, colours in zip(NAMES, (_LIGHT, _DARK), strict=True)}


def _png(table: Table, title: str, colours: _Colours) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    lines = table.lines[:SHOWN]
    figure = Figure(figsize=(8, 1.4 + 0.55 * len(lines)), dpi=160, facecolor=colours.paper, layout="constrained")
    axes = figure.add_subplot(facecolor=colours.paper)
    series = [(title, [(line.points, line.half) for line in lines])]
    for number, other in enumerate(table.others):
        beside = [line.beside[number] for line in lines]
        points = [(one.points, one.half) if one else (math.nan, None) for one in beside]
        series.append((other.name + (" (base)" if other.is_base and "/" in other.name else ""), points))
    for number, (name, points) in enumerate(series):
        shift = (number - (len(series) - 1) / 2) * 0.6 / len(series)
        axes.errorbar(
            [value for value, _ in points],
            [row + shift for row in range(len(points))],
            xerr=[half or 0 for _, half in points],
            fmt=_MARKS[number % len(_MARKS)],
            color=colours.points[number % len(colours.points)],
            label=name,
            capsize=3,
            markersize=6,
            linewidth=1.5,
            clip_on=False,
            zorder=3,
        )
    labels = [f"{line.score.title}\n{line.score.metric}" for line in lines]
    axes.set_yticks(range(len(lines)), labels)
    axes.invert_yaxis()
    axes.set_xlim(0, 100)
    axes.set_xlabel(f"Of 100, with {table.level} interval · الدرجة من 100", color=colours.ink)
    axes.grid(axis="x", color=colours.grid)
    axes.set_axisbelow(True)
    axes.tick_params(colors=colours.ink)
    for spine in axes.spines.values():
        spine.set_color(colours.grid)
    figure.legend(loc="outside upper left", ncols=2, frameon=False, labelcolor=colours.ink, facecolor=colours.paper)
    picture = io.BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(picture, format="png", metadata={"Software": None})
    return picture.getvalue()
