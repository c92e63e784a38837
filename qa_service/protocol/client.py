"""The client side of a session: what to send, what the server's texts mean, and how far the session is.

Section 8.2 is this module's checklist. The caller owns the socket, the clock and the ids; it waits for
`SessionCreated`, sends `update()`, waits for `SessionUpdated` or an `ErrorEvent`, appends, and at the end
sends `finish()` and reads on until `SessionFinished`.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable
from typing import Final
from urllib.parse import parse_qsl, quote, urlsplit, urlunsplit

import msgspec

from qa_service.protocol.config import Extensions, SessionConfig
from qa_service.protocol.errors import InvalidValue, OutOfOrder
from qa_service.protocol.events import (
    Committed,
    Completed,
    Failed,
    ItemCreated,
    Partial,
    ServerEvent,
    SessionCreated,
    SessionFinished,
    SessionUpdated,
    SpeechStarted,
    SpeechStopped,
)
from qa_service.protocol.limits import MAX_APPEND_BYTES
from qa_service.protocol.reader import read_event
from qa_service.protocol.writer import write_append, write_bare, write_update

REALTIME_PATH: Final = "/api-ws/v1/realtime"

# Section 1.1; the regions without a host of their own are served by the international one.
_HOSTS: Final = {
    "ap-southeast-1": "dashscope-intl.aliyuncs.com",
    "cn-beijing": "dashscope.aliyuncs.com",
    "cn-hongkong": "cn-hongkong.dashscope.aliyuncs.com",
    "us-east-1": "dashscope-intl.aliyuncs.com",
    "eu-central-1": "dashscope-intl.aliyuncs.com",
    "ap-northeast-1": "dashscope-intl.aliyuncs.com",
}
REGIONS: Final = tuple(_HOSTS)
_WORKSPACE_REGIONS: Final = ("ap-southeast-1", "cn-beijing")
_HOST_LABEL: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?")
_HEADER_VALUE: Final = re.compile(r"[\x21-\x7e]+")


def endpoint(region: str, workspace: str | None = None) -> str:
    """The address of the cloud service in ``region`` (one of `REGIONS`), or of one workspace (section 1.1).

    Raises `InvalidValue` for a region that is not known, or has no addresses for workspaces.
    """
    if workspace is None:
        if region not in _HOSTS:
            raise InvalidValue("region", f"must be one of {', '.join(REGIONS)}")
        return f"wss://{_HOSTS[region]}{REALTIME_PATH}"
    if region not in _WORKSPACE_REGIONS:
        raise InvalidValue("region", f"must be one of {', '.join(_WORKSPACE_REGIONS)} for a workspace")
    if not _HOST_LABEL.fullmatch(workspace):
        raise InvalidValue("workspace", "must consist of letters, digits and hyphens")
    return f"wss://{workspace}.{region}.maas.aliyuncs.com{REALTIME_PATH}"


def handshake_url(url: str, model: str) -> str:
    """``url`` with ``model`` in its query, unless it names one already; the rest of the query is kept."""
    parts = urlsplit(url)
    if any(name == "model" for name, _ in parse_qsl(parts.query)):
        return url
    asked = f"model={quote(model, safe='')}"
    query = f"{parts.query}&{asked}" if parts.query else asked
    return urlunsplit(parts._replace(query=query))


def handshake_headers(api_key: str | None, workspace: str | None = None) -> dict[str, str]:
    """The headers that a client sends (section 1.3); without a key for servers that need none.

    Raises `InvalidValue` for a key or workspace that cannot stand in a header, without repeating it.
    """
    headers = {"OpenAI-Beta": "realtime=v1"}
    if api_key is not None:
        headers["Authorization"] = f"Bearer {_header_value('api_key', api_key)}"
    if workspace is not None:
        headers["X-DashScope-WorkSpace"] = _header_value("workspace", workspace)
    return headers


def _header_value(name: str, value: str) -> str:
    if not _HEADER_VALUE.fullmatch(value):
        raise InvalidValue(name, "must be visible ASCII characters without spaces")
    return value


class SessionState(enum.Enum):
    """How far a client's session is."""

    CONNECTING = enum.auto()
    """The server has not said anything yet."""
    CREATED = enum.auto()
    """``session.created`` has come; our configuration is not confirmed."""
    READY = enum.auto()
    """``session.updated`` has come."""
    FINISHING = enum.auto()
    """We have sent ``session.finish``; results may still come."""
    FINISHED = enum.auto()
    """``session.finished`` has come; the connection is of no further use."""


class ClientSession:
    """One session as its client sees it; every method is a pure step, values to text or text to an event.

    ``next_event_id`` gives a new id at each call, of letters, digits, ``_`` and ``-`` only: it goes into the
    text of an append as it is.
    """

    def __init__(self, config: SessionConfig, next_event_id: Callable[[], str]) -> None:
        # What we have asked for, or will; the server's own words are in the events.
        self.config = config
        # What the server has confirmed to honour; the defaults until it says so (see `Extensions`).
        self.honoured = Extensions()
        # The id of the last update, to recognise an error that answers it (``ErrorEvent.event_id``).
        self.update_event_id: str | None = None
        self._next_event_id = next_event_id
        self._state = SessionState.CONNECTING
        self._uncommitted_bytes = 0
        self._extensions_sent = False
        # Items that we know of and that have no final result, oldest first, for events that name no item.
        self._unfinished: dict[str, None] = {}
        # The item whose final result came last: stragglers about it do not make it unfinished again.
        self._finished_item: str | None = None

    @property
    def state(self) -> SessionState:
        """How far the session is."""
        return self._state

    @property
    def unfinished_items(self) -> tuple[str, ...]:
        """Ids of the items without a final result, oldest first."""
        return tuple(self._unfinished)

    def update(self, config: SessionConfig | None = None) -> str:
        """``session.update`` with the whole of ``config``, which replaces the session's own if given."""
        self._require_unfinished("update")
        if config is not None:
            self.config = config
        self._extensions_sent = self._extensions_sent or self.config.extensions != Extensions()
        self.update_event_id = self._next_event_id()
        return write_update(self.config, self.update_event_id, with_extensions=self._extensions_sent)

    def append(self, audio: bytes) -> str:
        """``input_audio_buffer.append`` of ``audio`` in the configured format, at most 15 MiB."""
        self._require_unfinished("append")
        if len(audio) > MAX_APPEND_BYTES:
            raise InvalidValue(
                "audio", f"must not be longer than {MAX_APPEND_BYTES} bytes; send it in pieces"
            )
        self._uncommitted_bytes += len(audio)
        return write_append(audio, self._next_event_id())

    def commit(self) -> str:
        """``input_audio_buffer.commit``: ends a turn in manual mode that has audio (section 8.2.6)."""
        self._require_unfinished("commit")
        if not self.config.manual:
            raise OutOfOrder("Turns of this session end by voice activity detection; it must not commit.")
        if not self._uncommitted_bytes:
            raise OutOfOrder("There is no audio to commit; append some first.")
        self._uncommitted_bytes = 0
        return write_bare("input_audio_buffer.commit", self._next_event_id())

    def clear(self) -> str:
        """``input_audio_buffer.clear``: throws uncommitted audio away, where the server knows this event."""
        self._require_unfinished("clear")
        self._uncommitted_bytes = 0
        return write_bare("input_audio_buffer.clear", self._next_event_id())

    def finish(self) -> str:
        """``session.finish``: no more audio; in manual mode, commit first."""
        self._require_unfinished("finish")
        self._state = SessionState.FINISHING
        return write_bare("session.finish", self._next_event_id())

    def receive_text(self, text: str | bytes) -> ServerEvent:
        """The event in a text message of the server; raises `MalformedMessage` if there is none.

        An event that should name its item and does not is given the one it must be about: the oldest
        unfinished one for a final result, the newest for others, "" if none is known (section 8.2.4).
        """
        event = read_event(text)
        match event:
            case SessionCreated():
                self._advance(SessionState.CREATED)
            case SessionUpdated():
                self._advance(SessionState.READY)
                self.honoured = event.config.extensions
            case SessionFinished():
                self._state = SessionState.FINISHED
            case SpeechStarted():
                self._unfinished[event.item_id] = None
            case SpeechStopped() | Committed() | ItemCreated() | Partial():
                return self._with_newest_item(event)
            case Completed() | Failed():
                return self._with_oldest_item(event)
            case _:
                pass
        return event

    def _require_unfinished(self, action: str) -> None:
        if self._state in _FINISHED_STATES:
            raise OutOfOrder(f"The session is finished; {action} needs a new session.")

    def _advance(self, state: SessionState) -> None:
        # A server may repeat itself or answer late (section 9.15): the state never goes back.
        if state.value > self._state.value:
            self._state = state

    def _with_newest_item(
        self, event: SpeechStopped | Committed | ItemCreated | Partial
    ) -> SpeechStopped | Committed | ItemCreated | Partial:
        if event.item_id:
            if event.item_id != self._finished_item:
                self._unfinished[event.item_id] = None
            return event
        return msgspec.structs.replace(event, item_id=next(reversed(self._unfinished), ""))

    def _with_oldest_item(self, event: Completed | Failed) -> Completed | Failed:
        item_id = event.item_id or next(iter(self._unfinished), "")
        self._finished_item = item_id
        # Items finish in order, so those before this one will not be finished any more (section 5.1).
        while item_id in self._unfinished:
            del self._unfinished[next(iter(self._unfinished))]
        return event if event.item_id else msgspec.structs.replace(event, item_id=item_id)


_FINISHED_STATES: Final = (SessionState.FINISHING, SessionState.FINISHED)
