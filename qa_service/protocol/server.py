"""The server side of a session: what client texts ask for, and what may be sent when.

Section 8.1 is this module's checklist. The caller owns the socket, the recogniser and the ids; it sends
`created()` at once, carries out the commands of each receipt in order, and sends every text that it is given
in the order in which it is given. Nothing a client sends raises; `OutOfOrder` means a fault of the caller.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, Literal
from urllib.parse import unquote

import msgspec

from qa_service.protocol.config import DEFAULT_MODEL, SessionConfig
from qa_service.protocol.errors import InvalidValue, MalformedMessage, OutOfOrder
from qa_service.protocol.events import (
    NEUTRAL,
    AppendAudio,
    Clear,
    Cleared,
    Command,
    Commit,
    Completed,
    Configure,
    ErrorCode,
    ErrorEvent,
    ErrorType,
    Event,
    Failed,
    Finish,
    LegStateAnswer,
    Partial,
    Progress,
    ResultDetail,
    SessionCreated,
    SessionFinished,
    SessionUpdated,
)
from qa_service.protocol.requests import (
    Request,
    asks_for_extensions,
    audio_of,
    read_append,
    read_request,
    updated_config,
)
from qa_service.protocol.turns import Turns
from qa_service.protocol.writer import write_event

_PATH_END: Final = "/api-ws/v1/realtime"

HandshakeStatus = Literal[400, 401, 403, 404, 429]
_HANDSHAKE_CODES: Final[dict[HandshakeStatus, str]] = {  # section 6.1
    400: "InvalidParameter",
    401: "InvalidApiKey",
    403: "AccessDenied",
    404: "ModelNotFound",
    429: "Throttling.RateQuota",
}


def parse_request_path(path: str, query: str, default_model: str = DEFAULT_MODEL) -> str | None:
    """The model that a handshake asks for, ``default_model`` if it names none; None if the path is not ours.

    ``query`` is the raw text after the first ``?``. Clients glue ``?model=`` onto whatever URL they were
    given, so further question marks separate like ``&``, and the last model named counts (section 1.1).
    """
    if not path.rstrip("/").endswith(_PATH_END):
        return None
    model = default_model
    for member in query.replace("?", "&").split("&"):
        name, _, value = member.partition("=")
        if name == "model" and value:
            model = unquote(value)
    return model


def bearer_token(header: str | None) -> str | None:
    """The key in an ``Authorization`` header; None if there is none. The scheme's case does not matter."""
    scheme, _, token = (header or "").strip().partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


def handshake_error(status: HandshakeStatus, message: str, request_id: str) -> str:
    """The JSON body of a refused handshake (section 6.1)."""
    body = {"code": _HANDSHAKE_CODES[status], "message": message, "request_id": request_id}
    return msgspec.json.encode(body).decode()


class Receipt(msgspec.Struct, frozen=True):
    """What a client's message comes to: ``replies`` to send now and ``commands`` to carry out, in order."""

    commands: tuple[Command, ...] = ()
    replies: tuple[str, ...] = ()


_NOTHING: Final = Receipt()
_ECHO_CHARACTERS: Final = 80  # of a client's own words in an error message; our choice


class ServerSession:
    """One session as its server sees it; every method is a pure step, text to commands or values to text.

    ``next_id`` gives a new id for a prefix ("event" or "item"), see `ids.server_id`. ``config`` holds the
    defaults in force until the client asks for something else.

    Builders return the texts to send now, in order; often none. Once the client has finished, `error` gives
    none: several clients would lose their last results over it (section 7.6).
    """

    def __init__(
        self, session_id: str, model: str, next_id: Callable[[str], str], config: SessionConfig | None = None
    ) -> None:
        self.session_id = session_id
        self.model = model
        self._config = config or SessionConfig()
        self._next_id = next_id
        self._turns = Turns()
        self._created = False
        self._finishing = False
        self._finished = False
        # Whether the client has sent our extension object, and so is told more than the protocol has.
        self._extensions_asked = False
        # Bytes since the last commit or clear: what makes a manual commit legal, and a change of format not.
        # In VAD mode only a clear takes them away, for any of them may hold speech not yet detected.
        self._uncommitted_bytes = 0
        # The first byte of a 16-bit sample whose second is still to come.
        self._odd_byte = b""
        # Audio received, in samples at 16 kHz; None once its length is unknown because some of it was Opus.
        self._received_samples: int | None = 0
        self._progress_ms = 0
        self._undecodable_told = False

    @property
    def config(self) -> SessionConfig:
        """The configuration in force."""
        return self._config

    @property
    def finishing(self) -> bool:
        """Whether the client has sent ``session.finish``."""
        return self._finishing

    @property
    def unfinished_items(self) -> tuple[str, ...]:
        """Ids of the items that still owe their final event, oldest first."""
        return self._turns.unfinished_items

    @property
    def received_ms(self) -> int | None:
        """Milliseconds of audio received, rounded up; None if some of it was Opus."""
        return None if self._received_samples is None else -(-self._received_samples // 16)

    @property
    def earliest_start_ms(self) -> int:
        """Milliseconds before which no further item may start; padding must not reach below."""
        return self._turns.earliest_start_ms

    # What comes in.

    def receive_text(self, text: str | bytes) -> Receipt:
        """What a text message of the client comes to; never raises for what the client sent."""
        if self._finishing:
            return _NOTHING
        audio = read_append(text)
        return self._append(audio) if audio is not None else self._receive_request(text)

    def receive_binary(self) -> Receipt:
        """What a binary message comes to: an error, for audio travels in text (section 3.6)."""
        return self._refusal(
            "Binary messages are not understood; send audio as base64 in input_audio_buffer.append."
        )

    def _receive_request(self, text: str | bytes) -> Receipt:
        try:
            request = read_request(text)
        except MalformedMessage as fault:
            return self._refusal(str(fault))
        try:
            return self._carry_out(request)
        except InvalidValue as fault:
            code = ErrorCode.MISSING_PARAMETER if fault.missing else ErrorCode.INVALID_VALUE
            return self._refusal(str(fault), code=code, param=fault.param, event_id=request.event_id)

    def _carry_out(self, request: Request) -> Receipt:
        match request.type:
            case "input_audio_buffer.append":
                return self._append(audio_of(request))
            case "session.update":
                return self._update(request)
            case "input_audio_buffer.commit":
                return self._commit(request)
            case "input_audio_buffer.clear":
                return self._clear()
            case "session.finish":
                return self._finish()
            case "response.create" | "response.cancel":
                # SDK samples send them out of habit with other models (section 3.6).
                return _NOTHING
            case _:
                raise InvalidValue("type", f"{request.type[:_ECHO_CHARACTERS]!r} is not supported")

    def _append(self, audio: bytes) -> Receipt:
        if not audio:
            return _NOTHING
        self._uncommitted_bytes += len(audio)
        if self._config.input_audio_format == "opus":
            self._received_samples = None
        else:
            audio = self._whole_samples(audio)
        return Receipt((AppendAudio(audio),)) if audio else _NOTHING

    def _whole_samples(self, audio: bytes) -> bytes:
        """The whole 16-bit samples there are now; an odd byte waits for the next append (section 3.2)."""
        if self._odd_byte:
            audio = self._odd_byte + audio
        whole = len(audio) & ~1
        self._odd_byte = audio[whole:]
        if self._received_samples is not None:
            self._received_samples += whole // 2 * (16000 // self._config.sample_rate)
        return audio[:whole] if self._odd_byte else audio

    def _update(self, request: Request) -> Receipt:
        config, leg_state = _without_leg_state(updated_config(self._config, request))
        if self._uncommitted_bytes:
            _require_same_audio(self._config, config)
        self._config = config
        self._extensions_asked = self._extensions_asked or asks_for_extensions(request)
        updated = SessionUpdated(self.session_id, self.model, config)
        return Receipt((Configure(config, leg_state),), self._texts((updated,)))

    def _commit(self, request: Request) -> Receipt:
        if not self._config.manual:
            return _NOTHING
        if not self._uncommitted_bytes:
            message = "The input audio buffer is empty; append audio before committing it."
            return self._refusal(message, code=ErrorCode.COMMIT_EMPTY, event_id=request.event_id)
        return self._commit_turn()

    def _commit_turn(self) -> Receipt:
        item_id = self.manual_item()
        self._forget_uncommitted()
        return Receipt((Commit(item_id),), self._texts(self._turns.committed(item_id)))

    def _clear(self) -> Receipt:
        self._turns.clear()
        self._forget_uncommitted()
        self._undecodable_told = False
        return Receipt((Clear(),), self._texts((Cleared(),)))

    def _finish(self) -> Receipt:
        left = self._commit_turn() if self._config.manual and self._uncommitted_bytes else _NOTHING
        self._finishing = True
        return Receipt((*left.commands, Finish()), left.replies)

    def _forget_uncommitted(self) -> None:
        self._uncommitted_bytes = 0
        # Half a sample at the end of a turn is no part of the next one.
        self._odd_byte = b""

    # What goes out.

    def created(self) -> str:
        """``session.created``, the first event; send it without waiting for the client."""
        if self._created:
            raise OutOfOrder("The session has been announced already.")
        self._created = True
        (text,) = self._texts((SessionCreated(self.session_id, self.model, self._config),))
        return text

    def speech_started(self, audio_start_ms: int) -> tuple[str, str]:
        """The id of the new item, and the text: speech began at ``audio_start_ms`` of all audio appended.

        Refused in manual mode, while another item is open, and before `earliest_start_ms`.
        """
        if self._config.manual:
            raise OutOfOrder("Turns of this session end by commit; speech is not detected.")
        item_id = self._next_id("item")
        (text,) = self._texts((self._turns.started(item_id, audio_start_ms),))
        return item_id, text

    def speech_stopped(self, item_id: str, audio_end_ms: int) -> tuple[str, ...]:
        """Speech of ``item_id`` ended: its three closing events at once; none if the client has cleared it.

        Refused unless the item is open and its start < ``audio_end_ms`` <= `received_ms`.
        """
        return self._texts(self._turns.stopped(item_id, audio_end_ms, self.received_ms))

    def manual_item(self) -> str:
        """Id that the manual turn now being appended will carry, for early partials (section 5.2)."""
        if not self._config.manual:
            raise OutOfOrder(
                "Turns of this session are ended by voice activity detection; start speech instead."
            )
        if not self._uncommitted_bytes:
            raise OutOfOrder("The manual turn has no audio yet.")
        item_id = self._turns.open_item
        if item_id is None:
            item_id = self._next_id("item")
            self._turns.open(item_id)
        return item_id

    def partial(
        self,
        item_id: str,
        text: str,
        stash: str,
        language: str | None = None,
        emotion: str | None = None,
        *,
        detail: ResultDetail | None = None,
    ) -> tuple[str, ...]:
        """An intermediate result; no text if it repeats the last one or the client has cleared the item.

        ``text`` that is shorter than what has been confirmed is completed from ``stash``; what contradicts
        the confirmed text is refused. For the other arguments see `completed`.
        """
        emotion, detail = self._permitted(emotion, detail)
        return self._texts(
            self._turns.partial(Partial(item_id, text, stash, self._language(language), emotion, detail))
        )

    def completed(
        self,
        item_id: str,
        transcript: str,
        language: str | None = None,
        emotion: str | None = None,
        *,
        detail: ResultDetail | None = None,
    ) -> tuple[str, ...]:
        """The final result, and those of younger items that had to wait for it; none if it must wait itself.

        ``language`` None stands for the one asked for, ``emotion`` None for neutral. ``detail`` is sent only
        to a client that asked for it; all about emotion is withheld where it has switched that off, and the
        leg state is then to hold nothing about the voice.
        """
        emotion, detail = self._permitted(emotion, detail)
        return self._texts(
            self._turns.final(Completed(item_id, transcript, self._language(language), emotion, detail))
        )

    def failed(self, item_id: str, code: str, message: str) -> tuple[str, ...]:
        """The item could not be recognised; ordered like `completed`, which is better for mere noise."""
        return self._texts(self._turns.final(Failed(item_id, code, message)))

    def progress(self, processed_ms: int) -> tuple[str, ...]:
        """Audio up to ``processed_ms`` is done, no item can start before it; none unless asked for and news.

        Mind the padding: an item that may yet be detected can start before the audio that betrays it.
        """
        if not self._config.extensions.progress or self._finished or processed_ms <= self._progress_ms:
            return ()
        if self.received_ms is not None and processed_ms > self.received_ms:
            raise OutOfOrder(
                f"{processed_ms} ms cannot be processed: {self.received_ms} ms of audio have come."
            )
        self._progress_ms = processed_ms
        self._turns.rule_out_before(processed_ms)
        return self._texts((Progress(processed_ms),))

    def leg_state_answer(self, refused: str | None) -> tuple[str, ...]:
        """Whether the leg state of a `Configure` was taken: ``refused`` None if so, else why not, in a word.

        None is sent to a client that has finished: whatever it is told then is too late.
        """
        if self._finishing:
            return ()
        return self._texts((LegStateAnswer(refused is None, refused),))

    def finished(self) -> str:
        """``session.finished``, the last event: after the client's finish, when every item has its final."""
        if not self._finishing:
            raise OutOfOrder("The client has not finished the session.")
        if self.unfinished_items:
            raise OutOfOrder(f"{', '.join(self.unfinished_items)} must be completed or failed first.")
        (text,) = self._texts((SessionFinished(),))
        self._finished = True
        return text

    def error(
        self,
        error_type: ErrorType,
        code: ErrorCode,
        message: str,
        param: str | None = None,
        event_id: str | None = None,
    ) -> tuple[str, ...]:
        """An ``error`` event, none after the client's finish; close the connection after a ``SERVER`` one."""
        if self._finishing:
            return ()
        return self._texts((ErrorEvent(error_type.value, code.value, message, param, event_id),))

    def undecodable_audio(self, message: str) -> tuple[str, ...]:
        """The error that the audio stream cannot be decoded: once, not per append (section 6.2)."""
        if self._undecodable_told:
            return ()
        self._undecodable_told = True
        return self.error(ErrorType.INVALID_REQUEST, ErrorCode.INVALID_VALUE, message, "audio")

    def _refusal(
        self,
        message: str,
        *,
        code: ErrorCode = ErrorCode.INVALID_VALUE,
        param: str | None = None,
        event_id: str | None = None,
    ) -> Receipt:
        return Receipt(replies=self.error(ErrorType.INVALID_REQUEST, code, message, param, event_id))

    def _language(self, detected: str | None) -> str:
        return detected or self._config.language or ""

    def _permitted(
        self, emotion: str | None, detail: ResultDetail | None
    ) -> tuple[str | None, ResultDetail | None]:
        """What this client may be told of an emotion, in words that any client understands."""
        asked = self._config.extensions
        detail = detail or ResultDetail()
        if not asked.emotion:
            emotion = None
            detail = ResultDetail(
                emotion_off=True, engine=detail.engine, model=detail.model, leg_state=detail.leg_state
            )
        elif detail.emotion_abstained:
            emotion = None
        if not asked.leg_state:
            detail = msgspec.structs.replace(detail, leg_state=None)
        told = asked.emotion_detail or asked.leg_state or not asked.emotion
        return emotion or NEUTRAL, detail if self._extensions_asked and told else None

    def _texts(self, events: Iterable[Event]) -> tuple[str, ...]:
        if not self._created or self._finished:
            raise OutOfOrder("Nothing may be sent before session.created or after session.finished.")
        return tuple(
            write_event(event, self._next_id("event"), extensions_asked=self._extensions_asked)
            for event in events
        )


def _without_leg_state(config: SessionConfig) -> tuple[SessionConfig, str | None]:
    """A configuration with the wish for leg states alone, and the state that stood in its place."""
    given = config.extensions.leg_state
    if not isinstance(given, str):
        return config, None
    extensions = msgspec.structs.replace(config.extensions, leg_state=True)
    return msgspec.structs.replace(config, extensions=extensions), given


def _require_same_audio(now: SessionConfig, asked: SessionConfig) -> None:
    """Format, rate and mode may change only while no audio is pending (section 3.1, rule 8)."""
    changes = {
        "session.input_audio_format": now.input_audio_format != asked.input_audio_format,
        "session.sample_rate": now.sample_rate != asked.sample_rate,
        "session.turn_detection": now.manual != asked.manual,
    }
    for param, changed in changes.items():
        if changed:
            raise InvalidValue(param, "cannot change while audio is pending; commit or clear it first")
