"""TLS of the server: its certificate, and a CA whose certificates clients must show.

Decided here: TLS 1.2 and newer. A client without a certificate is let through to HTTP, where the server
refuses it a session but answers probes; one with a certificate of another CA is not. Renewed files are
taken up without a restart.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import structlog

from qa_service.asr_server.errors import StartError

_log = structlog.get_logger(__name__)

_Times: TypeAlias = tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """Where the certificates are, in PEM; the key must not be encrypted."""

    cert_file: Path
    """The server's certificate and those between it and its CA."""
    key_file: Path
    client_ca_file: Path | None = None
    """CAs of clients; None asks clients for no certificate."""


class ServerTls:
    """The context to listen with; raises `StartError` if the files do not make one."""

    def __init__(self, files: TlsFiles) -> None:
        self._files = files
        self._times = _times_of(files)
        self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            self._load(self.context)
        except (OSError, ValueError) as error:
            raise StartError(
                f"cannot serve TLS with {_names(files)}: {error}; check QA_SERVER_TLS_CERT_FILE, "
                "QA_SERVER_TLS_KEY_FILE and QA_SERVER_TLS_CLIENT_CA_FILE"
            ) from error

    def refresh(self) -> None:
        """Serve new connections with renewed files if they have changed and belong together."""
        times = _times_of(self._files)
        if times == self._times:
            return
        self._times = times
        try:
            self._load(ssl.create_default_context(ssl.Purpose.CLIENT_AUTH))
            self._load(self.context)
        except (OSError, ValueError) as error:
            _log.error("server_certificate_unusable", error=str(error), files=_names(self._files))
        else:
            _log.info("server_certificate_renewed", files=_names(self._files))

    def _load(self, context: ssl.SSLContext) -> None:
        # An encrypted key would ask for its password on the terminal.
        context.load_cert_chain(self._files.cert_file, self._files.key_file, password=lambda: "")
        if self._files.client_ca_file is not None:
            context.load_verify_locations(self._files.client_ca_file)
            context.verify_mode = ssl.CERT_OPTIONAL


def _names(files: TlsFiles) -> str:
    named = (files.cert_file, files.key_file, files.client_ca_file)
    return ", ".join(str(file) for file in named if file is not None)


def _times_of(files: TlsFiles) -> _Times:
    named = (files.cert_file, files.key_file, files.client_ca_file)
    return tuple(file.stat().st_mtime_ns for file in named if file is not None and file.exists())
