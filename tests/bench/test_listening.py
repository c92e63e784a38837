from __future__ import annotations

import pytest

from qa_service.asr.endpoint import RecogniserEndpoint
from qa_service.asr.session import make_http_session
from qa_service.asr_server import ServerConfig, serve
from qa_service.bench.listening import BenchError, Heard, Utterance, listen
from qa_service.protocol.events import Completed, Partial, SpeechStarted
from tests.asr_server.support import silence, spoken


async def test_times_are_those_of_the_leg() -> None:
    config = ServerConfig(port=0, no_auth=True, engine="scripted", close_wait_s=0.5)
    pcm = silence(0.5) + spoken("w1", "w2", "w3") + silence(1.0)
    async with await serve(config) as server, make_http_session() as http:
        await server.wait_ready()
        heard = await listen(http, RecogniserEndpoint(server.url), pcm, silence_ms=400)

    (utterance,) = heard.finals
    assert heard.text == "w1 w2 w3"
    assert utterance.end_ms is not None
    assert utterance.final_at_ms is not None
    assert utterance.final_at_ms >= utterance.end_ms
    assert utterance.revisions == 0


async def test_a_lost_session_is_an_error() -> None:
    async with make_http_session() as http:
        with pytest.raises(BenchError, match="the session was lost"):
            await listen(http, RecogniserEndpoint("ws://127.0.0.1:9"), bytes(320), silence_ms=400)


@pytest.mark.parametrize(
    ("texts", "final", "revisions"),
    [
        (["", "the", "the train"], "the train to Leeds", 0),
        (["", "the", "a train"], "a train to Leeds", 1),
        (["", "the", "the train"], "the brain", 1),
        ([], "the train", 0),
    ],
)
def test_confirmed_text_that_is_taken_back_is_counted(texts: list[str], final: str, revisions: int) -> None:
    partials = [(0.0, Partial(item_id="1", text=text)) for text in texts]

    assert (
        Utterance("1", partials=partials, final=Completed(item_id="1", transcript=final)).revisions
        == revisions
    )


def test_an_utterance_in_which_nothing_was_understood_is_no_final() -> None:
    heard = Heard()
    heard.take(SpeechStarted(item_id="1", audio_start_ms=10), 100.0)
    heard.take(Completed(item_id="1", transcript=""), 200.0)

    assert heard.finals == []
    assert heard.utterances["1"].start_ms == 10
