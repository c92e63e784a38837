"""Draw what a command printed as an SVG picture of a terminal.

    COLUMNS=128 script -qc "qa-service demo --exit-when-done" /dev/null |
        python tools/docs/terminal_picture.py docs/demo.svg

Reads text with ANSI colours on standard input; lines are cut at the width given, never wrapped. Blank lines
at the top are left out.
"""

from __future__ import annotations

import argparse
import io
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text


def main() -> None:
    """Read, draw, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("svg", type=Path)
    parser.add_argument("--width", type=int, default=128, help="columns")
    parser.add_argument("--title", default="make demo")
    parser.add_argument("--lines", type=int, default=63, help="lines to show")
    options = parser.parse_args()
    console = Console(
        record=True, width=options.width, file=io.StringIO(), force_terminal=True, color_system="truecolor"
    )
    printed = sys.stdin.read().replace("\r\n", "\n").lstrip("\n")
    for line in printed.split("\n")[: options.lines]:
        text = Text.from_ansi(line)
        text.truncate(options.width, overflow="ellipsis")
        console.print(text, soft_wrap=True)
    options.svg.write_text(console.export_svg(title=options.title), encoding="utf-8")


if __name__ == "__main__":
    main()
