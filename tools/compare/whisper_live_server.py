"""Start WhisperLive's server on this machine; run by the interpreter of its own environment.

Its own launcher is no part of the package, so this does what that does. The package asks PyTorch whether
there is a GPU and, with this back end on CPU, nothing else: a stand-in answers, so that PyTorch and its GPU
libraries need not be installed.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import types


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--model", required=True, help="folder of a CTranslate2 model")
    parser.add_argument("--clients", type=int, required=True)
    parser.add_argument("--seconds", type=int, required=True, help="how long a client may stay")
    parser.add_argument("--batched", action="store_true")
    arguments = parser.parse_args()

    stand_in = types.ModuleType("torch")
    stand_in.__dict__["cuda"] = types.SimpleNamespace(is_available=lambda: False)
    sys.modules["torch"] = stand_in
    server = importlib.import_module("whisper_live.server")

    server.TranscriptionServer().run(
        "127.0.0.1",
        port=arguments.port,
        backend="faster_whisper",
        faster_whisper_custom_model_path=arguments.model,
        single_model=True,
        max_clients=arguments.clients,
        max_connection_time=arguments.seconds,
        batch_enabled=arguments.batched,
    )


if __name__ == "__main__":
    main()
