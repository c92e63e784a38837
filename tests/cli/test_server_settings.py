from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from pydantic import ValidationError

from qa_service.asr_server import TlsFiles
from qa_service.cli.configuration import server_config
from qa_service.cli.parts import asr_server
from qa_service.cli.root import _explain_settings
from qa_service.settings import Settings


def configured(monkeypatch: pytest.MonkeyPatch, **variables: str):
    for name, value in variables.items():
        monkeypatch.setenv(f"QA_SERVER_{name}", value)
    return server_config(Settings(_env_file=None), host=None, port=None, no_auth=False)


def test_access_and_limits_are_settings(monkeypatch):
    config = configured(
        monkeypatch,
        API_KEYS='["a", "b"]',
        API_KEYS_FILE="/run/secrets/keys",
        SESSIONS_PER_SECOND="5",
        MAX_SESSIONS="7",
        MAX_FINAL_DELAY_S="2.5",
        MAX_MESSAGE_MIB="3",
        IDLE_TIMEOUT_S="60",
    )

    assert config.api_keys == ("a", "b")
    assert config.api_keys_file == Path("/run/secrets/keys")
    assert (config.sessions_per_second, config.max_sessions) == (5, 7)
    assert config.max_final_delay_s == 2.5
    assert (config.max_message_bytes, config.idle_timeout_s) == (3 * 1024 * 1024, 60)
    assert config.tls is None


def test_refusing_by_load_can_be_turned_off(monkeypatch):
    assert configured(monkeypatch, MAX_FINAL_DELAY_S="0", API_KEYS='["a"]').max_final_delay_s is None


def test_tls_is_on_where_there_is_a_certificate(monkeypatch):
    files = {"TLS_CERT_FILE": "/c.pem", "TLS_KEY_FILE": "/k.pem", "TLS_CLIENT_CA_FILE": "/ca.pem"}

    assert configured(monkeypatch, **files).tls == TlsFiles(
        cert_file=Path("/c.pem"), key_file=Path("/k.pem"), client_ca_file=Path("/ca.pem")
    )


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"TLS_CERT_FILE": "/c.pem"}, "belong together"),
        ({"TLS_KEY_FILE": "/k.pem"}, "belong together"),
        ({"TLS_CLIENT_CA_FILE": "/ca.pem"}, "needs QA_SERVER_TLS_CERT_FILE"),
    ],
)
def test_half_of_what_tls_needs_is_refused_in_one_line(monkeypatch, variables, words):
    with pytest.raises(ValidationError) as caught:
        configured(monkeypatch, **variables)

    explained = _explain_settings(caught.value)
    assert words in explained
    assert explained.startswith("QA_SERVER_TLS_")


def test_the_defaults_are_those_of_the_protocol(monkeypatch):
    config = configured(monkeypatch)

    assert (config.sessions_per_second, config.idle_timeout_s) == (20, 900)
    assert config.max_message_bytes >= 21 * 1024 * 1024


def test_a_server_without_keys_says_what_to_set():
    result = CliRunner().invoke(asr_server, [], env={"QA_SERVER_PORT": "0"})

    assert result.exit_code == 1
    assert "QA_SERVER_API_KEYS_FILE" in str(result.exception)
