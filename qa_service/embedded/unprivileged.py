"""How a root process runs a program that refuses root, without adding users or giving files away.

The first choice is a user namespace in which our own uid goes by another number: files stay where and whose
they are. Where namespaces are forbidden (many containers), the program runs as the user ``nobody``; what it
needs must then be reachable for that user, and what it writes must belong to it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from qa_service.embedded.errors import EmbeddedError

if TYPE_CHECKING:
    from pathlib import Path

# The uid and gid that Linux distributions agree to call nobody and nogroup.
NOBODY = 65534


@dataclass(frozen=True, slots=True)
class Disguise:
    """The words to put before a command, and the uid whose access rights it then has (None: our own)."""

    prefix: tuple[str, ...] = ()
    uid: int | None = None

    def can_execute(self, program: Path) -> bool:
        """Whether ``program --version`` runs under this disguise.

        A shell stands between, since ``setpriv`` itself still opens files with the rights of root.
        """
        return _succeeds(*self.prefix, "sh", "-c", 'exec "$0" --version', str(program))

    def hand_over(self, directory: Path) -> None:
        """Make ``directory``, which must be new and empty, the program's own.

        Raises:
            EmbeddedError: the program's user cannot reach it through its parents.
        """
        if self.uid is None:
            return
        os.chown(directory, self.uid, self.uid)
        if not _succeeds(*self.prefix, "test", "-w", str(directory)):
            raise EmbeddedError(
                f"{directory} cannot be reached by uid {self.uid}, under which PostgreSQL has to run here; "
                "choose a data directory whose parents are open to all"
            )


@cache
def disguise() -> Disguise:
    """The disguise that works on this machine for this process.

    Raises:
        EmbeddedError: we are root and have no way to be anybody else.
    """
    if os.geteuid() != 0:
        return Disguise()
    for candidate in (_NAMESPACE, _NOBODY):
        if shutil.which(candidate.prefix[0]) and _succeeds(*candidate.prefix, "true"):
            return candidate
    raise EmbeddedError(
        "PostgreSQL refuses to run as root, and neither unshare nor setpriv (util-linux) works here; "
        "run as an ordinary user, or name a server in QA_DATABASE_URL"
    )


_NAMESPACE = Disguise(("unshare", "--user", "--map-user=1000", "--map-group=1000", "--"))
_NOBODY = Disguise(
    ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--"),
    uid=NOBODY,
)


def _succeeds(*command: str) -> bool:
    try:
        done = subprocess.run(command, check=False, capture_output=True)  # noqa: S603 - an argument list of ours
    except OSError:
        return False
    return done.returncode == 0
