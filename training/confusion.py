"""The confusion matrix of the model card as a picture; in SVG, so that its diff is readable."""

from collections.abc import Mapping, Sequence
from html import escape

CELL, MARGIN = 46, 96  # pixels
STYLE = "font: 12px system-ui, sans-serif"


def confusion_svg(confusion: Mapping[str, Mapping[str, int]], labels: Sequence[str]) -> str:
    """Return the SVG: rows are true labels, columns first tags, shades the share of the row."""
    side = MARGIN + CELL * len(labels) + 8
    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{side}" height="{side}" '
            f'viewBox="0 0 {side} {side}" style="{STYLE}" role="img">'
        ),
        "<title>Confusion matrix: rows true labels, columns first tags</title>",
        f'<rect width="{side}" height="{side}" fill="#fff"/>',
    ]
    for row, own in enumerate(labels):
        middle = MARGIN + CELL * row + CELL // 2
        parts.append(_text(MARGIN - 8, middle + 4, own, anchor="end"))
        parts.append(_text(middle, MARGIN - 8, own, turned=True))
        total = sum(confusion.get(own, {}).values()) or 1
        for column, tag in enumerate(labels):
            count = confusion.get(own, {}).get(tag, 0)
            parts += _cell(row, column, count, count / total)
    return "\n".join([*parts, "</svg>", ""])


def _cell(row: int, column: int, count: int, share: float) -> list[str]:
    left, top = MARGIN + CELL * column, MARGIN + CELL * row
    # The square root makes confusions of a few per cent visible.
    shade = round(255 - 200 * share**0.5)
    colour = f"rgb({shade},{shade},255)" if row == column else f"rgb(255,{shade},{shade})"
    box = (
        f'<rect x="{left}" y="{top}" width="{CELL}" height="{CELL}" fill="{colour}" stroke="#ddd"/>'
    )
    if not count:
        return [box]
    return [box, _text(left + CELL // 2, top + CELL // 2 + 4, str(count))]


def _text(x: int, y: int, text: str, *, anchor: str = "middle", turned: bool = False) -> str:
    turn = f' transform="rotate(-45 {x} {y})"' if turned else ""
    anchor = "start" if turned else anchor
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}"{turn}>{escape(text)}</text>'
