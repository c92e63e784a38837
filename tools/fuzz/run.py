"""Coverage-guided fuzzing of one decoder; atheris has to be installed, any seed folders follow.

    pip install atheris
    python tools/fuzz/run.py client -max_total_time=600 /tmp/found tools/fuzz/corpus/server_events
    python tools/fuzz/run.py server -max_total_time=600 /tmp/found tools/fuzz/corpus/client_events

``client`` reads what servers send, ``server`` what clients send. Options are libFuzzer's; what breaks the
oracle is written to the current folder as ``crash-…``, which can be given instead of a folder to see why.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import atheris

sys.path.insert(0, str(Path(__file__).parents[2]))

with atheris.instrument_imports(include=["qa_service.protocol", "tools.fuzz"]):
    from tools.fuzz.oracles import check_client, check_server

ORACLES: Final[dict[str, Callable[[bytes], None]]] = {"client": check_client, "server": check_server}
DICTIONARY: Final = Path(__file__).with_name("protocol.dict")


def main(arguments: list[str]) -> None:
    """Fuzz the decoder that the first argument names, until libFuzzer's options say stop."""
    if len(arguments) < 2 or arguments[1] not in ORACLES:
        raise SystemExit(
            f"usage: {arguments[0]} {{{'|'.join(ORACLES)}}} [libFuzzer option | seed folder] ..."
        )
    program, oracle, *rest = arguments
    atheris.Setup([program, f"-dict={DICTIONARY}", *rest], ORACLES[oracle])
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv)
