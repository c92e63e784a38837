"""How to go on while the demo is open: a file to source, and commands that can be pasted as they stand.

What a service of one's own has in its environment, the demo writes to a file: the database's password was
made for this run and is on no screen, and commands stay short enough to read.
"""

from __future__ import annotations

import shlex
import sysconfig
from collections.abc import Iterator, Mapping
from pathlib import Path

FILE_NAME = "env"


def write_environment(folder: Path, environment: Mapping[str, str]) -> Path:
    """Write a file for any POSIX shell to source: these variables, and this program's folder on the path."""
    exports = [f"export {name}={shlex.quote(value)}" for name, value in environment.items()]
    scripts = shlex.quote(sysconfig.get_path("scripts"))
    path = folder / FILE_NAME
    path.write_text("\n".join([*exports, f'export PATH={scripts}:"$PATH"']) + "\n", encoding="utf-8")
    path.chmod(0o600)  # it holds the database's password
    return path


def hints(environment_file: Path, *, alerts_topic: str) -> Iterator[str]:
    """Give lines to be pasted, one by one or all at once.

    No quotes, parentheses and the like in the comments: a shell that knows none when interactive, as zsh,
    complains of those lines and goes on.
    """
    yield f". {shlex.quote(str(environment_file))}"
    yield "# a view of schema report, which any SQL client reads at $QA_DATABASE_URL"
    yield "qa-service report call_quality"
    yield f"# what is on topic {alerts_topic}, as CloudEvents"
    yield "qa-service alerts --from-start --until-end"
    yield "# a call of your own, customer left and agent right, shown by the demo as it goes on"
    yield "qa-service publish my-call.wav"
