"""A line plot with logarithmic axes as SVG text: enough for how a cost grows, without a plotting library."""

import math
from collections.abc import Mapping, Sequence
from html import escape

WIDTH, HEIGHT = 640, 400
LEFT, RIGHT, TOP, BOTTOM = 64, 40, 40, 48
COLOURS = ("#0b6bcb", "#c2410c", "#15803d", "#7c3aed")

Points = Sequence[tuple[float, float]]


def log_plot(title: str, x_name: str, y_name: str, lines: Mapping[str, Points]) -> str:
    """Return an SVG. lines: name to (x, y), all above 0; the axes go from one power of ten to another."""
    xs = [x for points in lines.values() for x, _ in points]
    ys = [y for points in lines.values() for _, y in points]
    (x0, x1), (y0, y1) = _decades(xs), _decades(ys)

    def at(x: float, y: float) -> tuple[float, float]:
        across = (math.log10(x) - x0) / (x1 - x0)
        up = (math.log10(y) - y0) / (y1 - y0)
        return LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}"'
        ' font-family="system-ui, sans-serif" font-size="13">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
        _text(LEFT, 24, title, "start", 'font-weight="600"'),
        _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 10, x_name, "middle"),
        _text(LEFT - 8, HEIGHT - 10, y_name, "end"),
    ]
    for power in range(x0, x1 + 1):
        x, low = at(10**power, 10**y0)
        parts += [_rule(x, low, x, at(10**power, 10**y1)[1]), _text(x, low + 18, _number(power), "middle")]
    for power in range(y0, y1 + 1):
        left, y = at(10**x0, 10**power)
        parts += [_rule(left, y, at(10**x1, 10**power)[0], y), _text(left - 8, y + 4, _number(power), "end")]
    for i, ((name, points), colour) in enumerate(zip(lines.items(), COLOURS, strict=False)):
        places = [at(x, y) for x, y in points]
        drawn = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(f'<polyline points="{drawn}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"/>' for x, y in places]
        parts.append(_text(LEFT + 12, TOP + 20 + 18 * i, name, "start", f'fill="{colour}"'))
    return "\n".join([*parts, "</svg>", ""])


def _decades(values: Sequence[float]) -> tuple[int, int]:
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    return low, max(high, low + 1)


def _number(power: int) -> str:
    return f"{10**power:,}" if power >= 0 else f"{10.0**power:g}"


def _rule(x0: float, y0: float, x1: float, y1: float) -> str:
    return f'<line x1="{x0:.1f}" y1="{y0:.1f}" x2="{x1:.1f}" y2="{y1:.1f}" stroke="#dfe3e9"/>'


def _text(x: float, y: float, text: str, anchor: str, more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {more}>{escape(text)}</text>'
