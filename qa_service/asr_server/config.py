"""What the asr-server can be told when it is started."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from qa_service.asr_server.tls import TlsFiles
from qa_service.protocol import CLOSE_WAIT_S, DEFAULT_MODEL, MAX_MESSAGE_BYTES, MODELS


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerConfig:
    """The configuration of one asr-server."""

    host: str = "127.0.0.1"
    port: int = 8000
    """0 takes a free one."""
    api_keys: tuple[str, ...] = ()
    """Keys that are accepted, or their digests (see `keys`); none is needed with ``no_auth`` or a file."""
    api_keys_file: Path | None = None
    """Further keys or digests, one a line; read again when it changes."""
    no_auth: bool = False
    """Serve without looking for a key."""
    threads: int = 2
    """Recognitions side by side; one core each."""
    cache_dir: Path | None = None
    """Where model files are; None for the user's cache folder."""
    engine: str = "whisper"
    """The engine's name: ``whisper``, ``scripted``, or one that an installed package offers."""
    model: str | None = None
    """The name of the model that the engine is to use instead of its own."""
    model_path: Path | None = None
    """The folder of that model; not together with a name."""
    emotion: bool = True
    """Load the emotion model at all."""
    emotion_weights: Path | None = None
    """What the emotion model judges by; None: the shipped weights."""
    state_dir: Path | None = None
    """Where what is learnt of the service outlives the server; None: nowhere."""
    models: tuple[str, ...] = MODELS
    """Model names that clients may ask for; all mean the same engine."""
    default_model: str = DEFAULT_MODEL
    """What a client gets that asks for none."""
    max_sessions: int = 200
    """Sessions at a time; further ones are refused with 429."""
    max_final_delay_s: float | None = None
    """Seconds that finals may be expected to be late before further sessions are refused with 429; None:
    sessions are never refused for that."""
    sessions_per_second: int = 20
    """New sessions that each key may open within a second (section 6.4); further ones get 429."""
    max_message_bytes: int = MAX_MESSAGE_BYTES + 1024 * 1024
    """Bytes of one message of a client, longer ones end the session with 1009; the default leaves room
    around the largest that clients may send."""
    tls: TlsFiles | None = None
    """Serve TLS with these; None: in the clear."""
    idle_timeout_s: float = 900.0
    """Seconds without any frame from the client after which its session ends; at least 600 are advised."""
    close_wait_s: float = CLOSE_WAIT_S
    """Seconds the client has to close after its session is finished."""
