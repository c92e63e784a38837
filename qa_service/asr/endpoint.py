"""Where the recogniser is and how we introduce ourselves: the cloud, or any server of the same protocol."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, Self
from urllib.parse import urlsplit, urlunsplit

from qa_service.protocol.client import REALTIME_PATH, endpoint, handshake_headers, handshake_url
from qa_service.protocol.config import DEFAULT_MODEL
from qa_service.protocol.errors import InvalidValue

# The settings' words for the two regions in which keys are sold (section 1.1 of the protocol).
_REGIONS: Final = {"intl": "ap-southeast-1", "cn": "cn-beijing"}


class EndpointInvalid(ValueError):  # noqa: N818 - named for the state of things
    """The settings name no usable recogniser; the message names the setting and what it should be."""


@dataclass(frozen=True, slots=True, repr=False)
class RecogniserEndpoint:
    """A recogniser's address, key (None: none needed), model and workspace; never prints its key."""

    url: str
    api_key: str | None = None
    model: str = DEFAULT_MODEL
    workspace: str | None = None

    def __post_init__(self) -> None:
        """Raise :class:`EndpointInvalid` for what no handshake can be made of."""
        parts = urlsplit(self.url)
        if parts.scheme not in ("ws", "wss") or not parts.hostname:
            raise EndpointInvalid(
                f"QA_ASR_URL={self.address}: must be ws://HOST[:PORT] or wss://HOST[:PORT], with or without "
                f"the path {REALTIME_PATH}"
            )
        try:
            handshake_headers(self.api_key, self.workspace)
        except InvalidValue as error:
            setting = "QA_ASR_API_KEY" if error.param == "api_key" else "QA_ASR_WORKSPACE"
            raise EndpointInvalid(f"{setting}: {error}") from error

    @classmethod
    def resolve(
        cls,
        *,
        url: str | None,
        region: Literal["intl", "cn"] = "intl",
        workspace: str | None = None,
        api_key: str | None = None,
        model: str = DEFAULT_MODEL,
    ) -> Self:
        """The endpoint that the settings ``QA_ASR_...`` mean: ``url``, or else the cloud of ``region``.

        Raises :class:`EndpointInvalid`, also where the cloud is meant and no key is given.
        """
        if url is not None:
            return cls(url, api_key or None, model, workspace)
        if not api_key:
            raise EndpointInvalid(
                "QA_ASR_API_KEY is not set: the cloud recogniser needs a key; for a server of your own "
                "set QA_ASR_URL instead, e.g. ws://localhost:8000"
            )
        try:
            return cls(endpoint(_REGIONS[region], workspace), api_key, model, workspace)
        except InvalidValue as error:
            raise EndpointInvalid(f"QA_ASR_WORKSPACE: {error}") from error

    def __repr__(self) -> str:
        """Without key and query, since a repr ends up in logs."""
        return f"RecogniserEndpoint({self.address!r}, model={self.model!r})"

    @property
    def address(self) -> str:
        """The URL as far as it may be shown: no credentials, no query."""
        parts = urlsplit(self.url)
        host = parts.netloc.rpartition("@")[2]
        return urlunsplit((parts.scheme, host, parts.path, "", ""))

    @property
    def request_url(self) -> str:
        """The URL of the handshake, with path and model."""
        parts = urlsplit(self.url)
        if parts.path in ("", "/"):
            parts = parts._replace(path=REALTIME_PATH)
        return handshake_url(urlunsplit(parts), self.model)

    @property
    def request_headers(self) -> dict[str, str]:
        """The headers of the handshake."""
        return handshake_headers(self.api_key, self.workspace)
