"""The one settings object: every knob of every part, read from ``QA_...`` variables and ``.env``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

Port = Annotated[int, Field(ge=0, le=65535)]


class Settings(BaseSettings):
    """Effective configuration; ``qa-service config`` prints it with secrets masked."""

    model_config = SettingsConfigDict(env_prefix="QA_", env_file=".env", extra="ignore", frozen=True)

    # --- Kafka ------------------------------------------------------------------------------------
    kafka_bootstrap: str = Field(
        default="localhost:9092", description="Kafka bootstrap servers, host:port[,…]."
    )
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        default="PLAINTEXT", description="How to talk to the brokers."
    )
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        default="SCRAM-SHA-512", description="SASL mechanism, where SASL is used."
    )
    kafka_username: str | None = Field(default=None, description="SASL user.")
    kafka_password: SecretStr | None = Field(default=None, description="SASL password.")
    kafka_ca_file: Path | None = Field(
        default=None, description="CA certificates for the brokers; default: the system's."
    )
    kafka_cert_file: Path | None = Field(default=None, description="Client certificate (mTLS).")
    kafka_key_file: Path | None = Field(default=None, description="Client key (mTLS).")
    kafka_idempotence: bool = Field(
        default=True, description="Idempotent producers; off only for brokers without them."
    )
    kafka_fetch_wait_ms: int = Field(
        default=500,
        ge=10,
        le=30_000,
        description="Longest a fetch waits at the broker for records; shorten it only for brokers that do "
        "not answer as soon as some come.",
    )
    kafka_gather_ms: int = Field(
        default=20,
        ge=0,
        le=200,
        description="Longest the broker gathers audio records before a worker's fetch is answered: more "
        "delays frames and costs less; 0: at once, for brokers that answer late anyway.",
    )
    audio_topic: str = Field(
        default="telephony.audio", description="Topic the telephony platform publishes to."
    )
    dlq_topic: str = Field(
        default="telephony.audio.dlq", description="Topic for records that cannot be decoded."
    )
    alerts_topic: str = Field(default="qa.alerts", description="Topic for incidents.")
    transcripts_topic: str = Field(default="qa.transcripts", description="Topic for finished utterances.")
    partials_topic: str = Field(default="qa.partials", description="Topic for partial results (best effort).")
    publish_partials: bool = Field(default=True, description="Publish partial results at all.")
    consumer_group: str = Field(default="qa-service", description="Consumer group of the workers.")
    group_instance_id: str | None = Field(
        default=None, description="Static group membership: a name unique to this worker, e.g. its pod name."
    )
    session_timeout_s: float = Field(default=10.0, gt=0, description="Kafka group session time-out.")
    start_from: Literal["earliest", "latest"] = Field(
        default="latest", description="Where to begin on a partition for which nothing was ever stored."
    )
    dlq_max_run: int = Field(
        default=100, gt=0, description="Undecodable records in a row after which a partition pauses loudly."
    )
    dlq_max_ratio: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="Share of undecodable records, over the last 1000, that pauses a partition.",
    )

    # --- PostgreSQL -------------------------------------------------------------------------------
    database_url: SecretStr = Field(
        default=SecretStr("postgresql://localhost:5432/qa"), description="PostgreSQL of the service."
    )
    database_pool_size: int = Field(
        default=5, ge=2, description="Most connections of a process; a relay keeps one of them to listen on."
    )

    # --- Recogniser, as its client ----------------------------------------------------------------
    asr_url: str | None = Field(
        default=None,
        description="wss:// or ws:// address of the recogniser; default: the cloud of QA_ASR_REGION.",
    )
    asr_region: Literal["intl", "cn"] = Field(
        default="intl", description="Cloud region, when no URL is given."
    )
    asr_workspace: str | None = Field(default=None, description="Cloud workspace id, if keys belong to one.")
    asr_api_key: SecretStr | None = Field(default=None, description="API key of the recogniser.")
    asr_model: str = Field(default="qwen3-asr-flash-realtime", description="Model asked for.")
    asr_language: str | None = Field(
        default=None, description="Language asked for when a leg names none; default: detect."
    )
    asr_vad_threshold: float = Field(
        default=0.2, ge=-1, le=1, description="Voice threshold, -1 … 1, lower is more sensitive."
    )
    asr_silence_ms: int = Field(default=800, ge=200, le=6000, description="Silence that ends an utterance.")
    asr_sessions_per_second: float = Field(
        default=20.0,
        gt=0,
        description="New sessions a second for this replica: its share of the account's 20.",
    )
    asr_final_timeout_s: float = Field(
        default=30.0, gt=0, description="Wait for a missing final before replaying."
    )

    # --- Worker -----------------------------------------------------------------------------------
    max_legs: int = Field(
        default=500, gt=0, description="Legs one worker holds; beyond, records wait in Kafka."
    )
    max_lag_s: float = Field(
        default=300.0,
        ge=0,
        description="Age at which audio that waits since a worker is at QA_MAX_LEGS is given up, as gap "
        "capacity. 0: never.",
    )
    leg_idle_s: float = Field(
        default=60.0, gt=0, description="Record time without a record of a leg that ends it."
    )
    replay_buffer_s: float = Field(default=120.0, gt=0, description="Audio kept per leg until it is covered.")
    shutdown_grace_s: float = Field(default=10.0, ge=0, description="Wait for finals on SIGTERM.")
    rules_file: Path | None = Field(default=None, description="Rule set; default: the one in the package.")
    scorecard_file: Path | None = Field(
        default=None,
        description="Scorecard that calls are graded by when they end; default: the package's; off: none.",
    )
    rules_from: Literal["file", "database"] = Field(
        default="file",
        description="database: new calls get the newest of `qa-service rules publish`, once there is one.",
    )
    rules_poll_s: float = Field(
        default=10.0, gt=0, description="How often a worker looks for a newer published rule set."
    )
    recording_url: str | None = Field(
        default=None,
        description="Template of a link to the recording, e.g. https://rec.example/{call_id}?t={start_s}.",
    )

    # --- Own ASR server ---------------------------------------------------------------------------
    server_host: str = Field(default="127.0.0.1", description="Address the asr-server listens on.")
    server_port: Port = Field(default=8000, description="Port the asr-server listens on.")
    server_api_keys: tuple[SecretStr, ...] = Field(
        default=(),
        description=(
            "Keys the asr-server accepts, or their digests sha256:… from `qa-service asr-server keys` "
            "(JSON list)."
        ),
    )
    server_api_keys_file: Path | None = Field(
        default=None,
        description="Further keys or digests, one a line; read again when it changes, to revoke keys.",
    )
    server_sessions_per_second: int = Field(
        default=20, gt=0, description="New sessions that one key may open within a second; then 429."
    )
    server_max_sessions: int = Field(default=200, gt=0, description="Sessions at a time; then 429.")
    server_max_final_delay_s: float = Field(
        default=1.0,
        ge=0,
        description="Delay of finals, in seconds, over which new sessions get 429 for a while; 0: never.",
    )
    server_max_message_mib: int = Field(
        default=22, gt=0, description="Longest message of a client, in MiB; clients may send 21."
    )
    server_idle_timeout_s: float = Field(
        default=900.0, gt=0, description="Time without any frame from a client that ends its session."
    )
    server_tls_cert_file: Path | None = Field(
        default=None, description="Certificate chain of the asr-server (PEM); turns TLS on."
    )
    server_tls_key_file: Path | None = Field(
        default=None, description="Key of that certificate (PEM, not encrypted)."
    )
    server_tls_client_ca_file: Path | None = Field(
        default=None, description="CA whose certificates clients must show to get a session."
    )
    server_threads: int = Field(default=2, gt=0, description="Recognitions side by side.")
    server_engine: str = Field(
        default="whisper",
        description="What recognises: whisper, scripted, or an engine of an installed package.",
    )
    server_model: str | None = Field(
        default=None,
        description=(
            "The engine's model by name: for whisper a size (small, large-v3, …) or a faster-whisper model "
            "of the Hugging Face hub, owner/name; default: the engine's own."
        ),
    )
    server_model_path: Path | None = Field(
        default=None,
        description="Folder of the engine's model instead, e.g. any faster-whisper one.",
    )
    server_emotion_weights: Path | None = Field(
        default=None,
        description="Emotion weights of `qa-service emotion train`; default: the shipped ones.",
    )

    server_state_dir: Path | None = Field(
        default=None,
        description=(
            "Folder in which the asr-server keeps what it learns of the service's voices over restarts, one "
            "a server; off: nowhere. Default: ~/.local/state/qa-service."
        ),
    )

    # --- All long-running parts -------------------------------------------------------------------
    health_host: str = Field(default="0.0.0.0", description="Address of /livez, /readyz and /metrics.")  # noqa: S104 - probes come from outside the pod
    health_port: Port = Field(default=9090, description="Port of /livez, /readyz and /metrics.")
    log_format: Literal["auto", "console", "json"] = Field(
        default="auto", description="auto: console on a terminal."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Lowest level logged."
    )
    cache_dir: Path | None = Field(
        default=None, description="Model files and embedded parts; default: ~/.cache/qa-service."
    )

    @model_validator(mode="after")
    def _require_whole_tls(self) -> Self:
        """A certificate is of no use without its key, nor a CA of clients without both."""
        if (self.server_tls_cert_file is None) != (self.server_tls_key_file is None):
            raise ValueError("QA_SERVER_TLS_CERT_FILE and QA_SERVER_TLS_KEY_FILE belong together: set both")
        if self.server_tls_client_ca_file is not None and self.server_tls_cert_file is None:
            raise ValueError("QA_SERVER_TLS_CLIENT_CA_FILE needs QA_SERVER_TLS_CERT_FILE as well")
        return self

    @field_validator("database_url")
    @classmethod
    def _accept_any_postgres_scheme(cls, value: SecretStr) -> SecretStr:
        """Take the URL as platforms hand it out; the driver is our business."""
        url = value.get_secret_value()
        for scheme in ("postgresql+asyncpg://", "postgresql://", "postgres://"):
            if url.startswith(scheme):
                return SecretStr("postgresql+asyncpg://" + url.removeprefix(scheme))
        raise ValueError("must start with postgresql://, e.g. postgresql://user:password@host:5432/qa")
