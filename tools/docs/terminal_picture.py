"""Draw what a command printed as an SVG picture of a terminal.

    script -qc "qa-service demo --exit-when-done" /dev/null |
        python tools/docs/terminal_picture.py docs/demo.svg

Reads text with ANSI colours on standard input; lines are cut at the width given, never wrapped.
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
    parser.add_argument("--width", type=int, default=120, help="columns")
    parser.add_argument("--title", default="make demo")
    parser.add_argument("--skip", type=int, default=0, help="lines to leave out at the top")
    parser.add_argument("--lines", type=int, default=45, help="lines to show")
    options = parser.parse_args()
    console = Console(
        record=True, width=options.width, file=io.StringIO(), force_terminal=True, color_system="truecolor"
    )
    shown = sys.stdin.read().replace("\r\n", "\n").split("\n")[options.skip : options.skip + options.lines]
    for line in shown:
        text = Text.from_ansi(line)
        text.truncate(options.width, overflow="ellipsis")
        console.print(text, soft_wrap=True)
    options.svg.write_text(console.export_svg(title=options.title), encoding="utf-8")


if __name__ == "__main__":
    main()
