"""Folded stacks as a flame graph: an SVG that any browser shows, with names on hover and no script.

A frame is as wide as its share of the samples and stands on its caller. Frames too narrow to be seen are left
out, which keeps the file small enough to be committed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final
from xml.sax.saxutils import escape

WIDTH: Final = 1200
_ROW: Final = 16
_MARGIN: Final = 10
_HEAD: Final = 34
_LETTER: Final = 6.2
"""Pixels of a letter of the 11-px font, about."""
_NARROWEST: Final = 2.0
_HUES: Final = {"qa_service": 28, "aiokafka": 200, "aiohttp": 130, "sqlalchemy": 280, "asyncpg": 300}
"""By the package that a frame's name begins with: our own stand out."""
_OTHER_HUE: Final = 50


@dataclass(slots=True)
class Frame:
    """A function in its place on the stack."""

    name: str
    samples: int = 0
    children: dict[str, Frame] = field(default_factory=dict)


def parse_folded(lines: Iterable[str]) -> Frame:
    """The tree of folded stacks: frames from the root, a semicolon between, a blank, how often."""
    root = Frame("all")
    for line in lines:
        stack, _, count = line.rpartition(" ")
        if not stack:
            continue
        samples = int(count)
        root.samples += samples
        here = root
        for name in stack.split(";"):
            here = here.children.setdefault(name, Frame(name))
            here.samples += samples
    return root


def render(root: Frame, title: str) -> str:
    """The SVG of a tree."""
    boxes = list(_boxes(root, 0, _MARGIN, (WIDTH - 2 * _MARGIN) / max(root.samples, 1)))
    rows = 1 + max((depth for _, depth, _, _ in boxes), default=0)
    height = _HEAD + rows * _ROW + _MARGIN
    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
            f'viewBox="0 0 {WIDTH} {height}" font-family="monospace" font-size="11">'
        ),
        '<rect width="100%" height="100%" fill="#fff"/>',
        f'<text x="{WIDTH / 2:g}" y="20" text-anchor="middle" font-size="14">{escape(title)}</text>',
    ]
    for frame, depth, x, width in boxes:
        y = height - _MARGIN - (depth + 1) * _ROW
        share = frame.samples / max(root.samples, 1)
        parts.append(
            f'<g><title>{escape(frame.name)} {share:.1%}</title><rect x="{x:.1f}" y="{y}" '
            f'width="{width:.1f}" height="{_ROW - 1}" fill="{_colour(frame.name)}" rx="1"/>'
            + _label(frame.name, x, y, width)
            + "</g>"
        )
    return "\n".join([*parts, "</svg>", ""])


def hottest(root: Frame, most: int = 12) -> list[tuple[str, float]]:
    """The functions in whose own code most samples were taken, with their share."""
    own: dict[str, int] = {}
    for frame in _walk(root):
        inside = frame.samples - sum(child.samples for child in frame.children.values())
        own[frame.name] = own.get(frame.name, 0) + inside
    ranked = sorted(own.items(), key=lambda item: -item[1])[:most]
    return [(name, count / max(root.samples, 1)) for name, count in ranked if count]


def _walk(frame: Frame) -> Iterator[Frame]:
    yield frame
    for child in frame.children.values():
        yield from _walk(child)


def _boxes(frame: Frame, depth: int, x: float, scale: float) -> Iterator[tuple[Frame, int, float, float]]:
    width = frame.samples * scale
    if width < _NARROWEST:
        return
    yield frame, depth, x, width
    for child in sorted(frame.children.values(), key=lambda child: child.name):
        yield from _boxes(child, depth + 1, x, scale)
        x += child.samples * scale


def _label(name: str, x: float, y: int, width: float) -> str:
    letters = int((width - 4) / _LETTER)
    if letters < 3:  # noqa: PLR2004 - less says nothing
        return ""
    short = name.rpartition("/")[2]
    text = short if len(short) <= letters else short[: letters - 1] + "…"
    return f'<text x="{x + 2:.1f}" y="{y + 12}">{escape(text)}</text>'


def _colour(name: str) -> str:
    package = name.partition("/")[0]
    hue = _HUES.get(package, _OTHER_HUE)
    return f"hsl({hue},{75 if package in _HUES else 30}%,{72 + sum(map(ord, name)) % 10}%)"
