"""``qa-service``: one command for every part and tool.

This package puts parts together from the settings; what the parts do is decided elsewhere. Commands are
imported when they are called, so that ``--help`` comes at once.
"""

from __future__ import annotations

from qa_service.cli.root import main

__all__ = ["main"]
