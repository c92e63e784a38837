"""From settings to the small configurations that parts take; and ``qa-service config``."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Collection
from os import getpid
from pathlib import Path

import click
from pydantic import SecretStr
from rich.console import Console
from rich.table import Table

from qa_service.asr.endpoint import RecogniserEndpoint
from qa_service.asr_server.config import ServerConfig
from qa_service.asr_server.tls import TlsFiles
from qa_service.domain.call import CallPolicy
from qa_service.domain.leg import LegLimits
from qa_service.fetching import default_cache_dir
from qa_service.kafka import KafkaConfig
from qa_service.rules.ruleset import RuleSet, default_rule_set, load_rule_set
from qa_service.rules.scorecards import Scorecard, default_scorecard, load_scorecard
from qa_service.settings import Settings
from qa_service.worker.consumer import WorkerOptions
from qa_service.worker.progress import STUCK_AFTER_S

_MASK = "********"


def kafka_config(settings: Settings) -> KafkaConfig:
    """How to reach the brokers."""
    return KafkaConfig(
        bootstrap=settings.kafka_bootstrap,
        security_protocol=settings.kafka_security_protocol,
        sasl_mechanism=settings.kafka_sasl_mechanism,
        username=settings.kafka_username,
        password=_reveal(settings.kafka_password),
        ca_file=settings.kafka_ca_file,
        cert_file=settings.kafka_cert_file,
        key_file=settings.kafka_key_file,
        idempotence=settings.kafka_idempotence,
        fetch_wait_ms=settings.kafka_fetch_wait_ms,
        gather_ms=settings.kafka_gather_ms,
    )


def recogniser_endpoint(settings: Settings) -> RecogniserEndpoint:
    """Where the recogniser is; raises EndpointInvalid."""
    return RecogniserEndpoint.resolve(
        url=settings.asr_url,
        region=settings.asr_region,
        workspace=settings.asr_workspace,
        api_key=_reveal(settings.asr_api_key),
        model=settings.asr_model,
    )


def worker_options(settings: Settings) -> WorkerOptions:
    """What a deployment decides about its workers."""
    limits = LegLimits(
        silence_ms=settings.asr_silence_ms,
        final_timeout_s=settings.asr_final_timeout_s,
        replay_buffer_s=settings.replay_buffer_s,
    )
    return WorkerOptions(
        topic=settings.audio_topic,
        owner_name=f"{socket.gethostname()}:{getpid()}",
        start_from_earliest=settings.start_from == "earliest",
        max_legs=settings.max_legs,
        max_lag_s=settings.max_lag_s,
        shutdown_grace_s=settings.shutdown_grace_s,
        # A rebalance may last as long as the group waits for a member that is gone.
        stuck_after_s=max(STUCK_AFTER_S, 3 * settings.session_timeout_s),
        dlq_max_run=settings.dlq_max_run,
        dlq_max_ratio=settings.dlq_max_ratio,
        calls=CallPolicy(
            limits=limits,
            idle_ms=int(settings.leg_idle_s * 1000),
            default_language=settings.asr_language,
            vad_threshold=settings.asr_vad_threshold,
            recording_template=settings.recording_url,
        ),
    )


def server_config(
    settings: Settings, *, host: str | None, port: int | None, no_auth: bool, engine: str | None = None
) -> ServerConfig:
    """How the asr-server is to run; options of the command line win."""
    return ServerConfig(
        host=host or settings.server_host,
        port=settings.server_port if port is None else port,
        api_keys=tuple(key.get_secret_value() for key in settings.server_api_keys),
        api_keys_file=settings.server_api_keys_file,
        no_auth=no_auth,
        threads=settings.server_threads,
        engine=engine or settings.server_engine,
        model=settings.server_model,
        model_path=settings.server_model_path,
        emotion_weights=settings.server_emotion_weights,
        cache_dir=cache_dir(settings),
        state_dir=state_dir(settings),
        max_sessions=settings.server_max_sessions,
        max_final_delay_s=settings.server_max_final_delay_s or None,
        sessions_per_second=settings.server_sessions_per_second,
        max_message_bytes=settings.server_max_message_mib * 1024 * 1024,
        idle_timeout_s=settings.server_idle_timeout_s,
        tls=_tls_files(settings),
    )


def _tls_files(settings: Settings) -> TlsFiles | None:
    cert_file, key_file = settings.server_tls_cert_file, settings.server_tls_key_file
    if cert_file is None or key_file is None:
        return None
    return TlsFiles(cert_file=cert_file, key_file=key_file, client_ca_file=settings.server_tls_client_ca_file)


def rule_set(settings: Settings) -> RuleSet:
    """The rule set that new calls are pinned to; raises RuleFileError."""
    if settings.rules_file is None:
        return default_rule_set()
    return read_rule_set(settings.rules_file)


def read_rule_set(path: Path) -> RuleSet:
    """Load a rule file, whole or not at all."""
    return load_rule_set(_read(path, "rule file", "QA_RULES_FILE"), str(path))


def scorecard(settings: Settings) -> Scorecard | None:
    """What calls are graded by when they end; raises RuleFileError."""
    if settings.scorecard_file is None:
        return default_scorecard()
    return None if str(settings.scorecard_file) == "off" else read_scorecard(settings.scorecard_file)


def read_scorecard(path: Path, *, rule_ids: Collection[str] | None = None) -> Scorecard:
    """Load a scorecard, whole or not at all; with ``rule_ids``, no question may ask another rule."""
    return load_scorecard(_read(path, "scorecard", "QA_SCORECARD_FILE"), str(path), rule_ids=rule_ids)


def _read(path: Path, what: str, setting: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise click.ClickException(f"cannot read the {what} {path}: {error}; check {setting}") from error


def cache_dir(settings: Settings) -> Path:
    """Where model files and embedded parts are kept."""
    return settings.cache_dir or default_cache_dir()


def state_dir(settings: Settings) -> Path | None:
    """Where the asr-server keeps what it learns; None if it is not to, or there is no home folder."""
    if settings.server_state_dir is not None:
        return None if str(settings.server_state_dir) == "off" else settings.server_state_dir
    xdg = Path(os.environ.get("XDG_STATE_HOME", ""))
    if xdg.is_absolute():
        return xdg / "qa-service"
    with contextlib.suppress(RuntimeError):
        return Path.home() / ".local" / "state" / "qa-service"
    return None


def _reveal(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()


@click.command(
    epilog="""\b
Examples:
  qa-service config
  qa-service config --json | jq .kafka_bootstrap"""
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def config(*, as_json: bool) -> None:
    """Print the effective settings, secrets masked."""
    settings = Settings()
    shown = {name: _show(name, getattr(settings, name)) for name in Settings.model_fields}
    if as_json:
        click.echo(json.dumps(shown, indent=2))
        return
    table = Table("variable", "value", "meaning", box=None, header_style="bold")
    for name, field in Settings.model_fields.items():
        value = shown[name]
        is_default = name not in settings.model_fields_set
        style = "dim" if is_default else "bold"
        table.add_row(f"QA_{name.upper()}", f"[{style}]{_text(value)}[/]", field.description or "")
    Console().print(table)


def _show(name: str, value: object) -> object:
    match value:
        case SecretStr() if name == "database_url":
            return _mask_password(value.get_secret_value())
        case SecretStr():
            return _MASK
        case tuple():
            return [_show(name, member) for member in value]
        case Path():
            return str(value)
        case _:
            return value


def _mask_password(url: str) -> str:
    scheme, _, rest = url.partition("://")
    credentials, at, place = rest.rpartition("@")
    user = credentials.partition(":")[0]
    masked = f"{user}:{_MASK}" if ":" in credentials else credentials
    return f"{scheme}://{masked}{at}{place}".split("?", maxsplit=1)[0]


def _text(value: object) -> str:
    return "-" if value is None else str(value)
