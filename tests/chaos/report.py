"""How long recovery took, as a table and as a file: measured, and never a reason to fail."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from pathlib import Path
from statistics import median

from tests.chaos.recovery import LIVE_S

HEADING = f"seconds until released coverage was back within {LIVE_S:g} s of live"


class Report:
    """What the trials of a run measured."""

    def __init__(self) -> None:
        self.load_before = os.getloadavg()[0]
        self.recovery_s: dict[str, list[float]] = defaultdict(list)

    def note(self, fault: str, recovery_s: float) -> None:
        self.recovery_s[fault].append(round(recovery_s, 1))

    def lines(self) -> list[str]:
        """The table."""
        width = max(map(len, self.recovery_s))
        load = f"load {self.load_before:.1f} before, {os.getloadavg()[0]:.1f} after, {os.cpu_count()} cores"
        return [
            f"{HEADING} ({load})",
            *(
                f"{fault:{width}}  median {median(times):5.1f}  worst {max(times):5.1f}  of {len(times)}"
                for fault, times in self.recovery_s.items()
            ),
        ]

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        content = {
            "unit": HEADING,
            "load_before": self.load_before,
            "load_after": os.getloadavg()[0],
            "cores": os.cpu_count(),
            "recovery_s": self.recovery_s,
        }
        path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
