"""A program that uses the conversation class of the vendor's Python SDK (1.25.6 and later).

    python dashscope_conversation.py URL FORMAT RATE_HZ MODE AUDIO...

FORMAT is that of the audio; `default`: the SDK is told nothing about audio and language; `nested-` and a
format (2.0.2): it is told of it by its newer argument, beside which it leaves the older ones out. MODE is
`vad` or `manual`; in manual mode each audio file is a turn that is committed. A line of an audio file is what
one append holds, in base64. The API key is taken from the environment, as DASHSCOPE_API_KEY.

What the SDK tells is printed, one JSON array a line: ["opened"], ["event", EVENT], ["closed", CODE, REASON],
and in the end ["done"]. The end does not wait for ["closed", ...]: in websocket-client, which the SDK builds
on, the thread that closes and the one that reads race for the other side's close frame; where the former
wins, the callback comes up to ten seconds later.
"""

import json
import os
import sys
import threading
import time
from pathlib import Path

from dashscope.audio.qwen_omni import MultiModality, OmniRealtimeCallback, OmniRealtimeConversation
from dashscope.audio.qwen_omni.omni_realtime import TranscriptionParams

PACE_S = 0.025  # between appends: of 100 ms each, four times as fast as speech

_printing = threading.Lock()


def report(*what):
    with _printing:
        print(json.dumps(what), flush=True)  # noqa: T201 - the test reads it


class Reporter(OmniRealtimeCallback):
    def on_open(self):
        report("opened")

    def on_event(self, response):
        report("event", response)

    def on_close(self, code, reason):
        report("closed", code, reason)


def audio_settings(audio_format, rate_hz):
    if audio_format == "default":
        return {}
    nested, _, kind = audio_format.rpartition("-")
    if nested:
        from dashscope.audio.qwen_omni import AudioFormatConfig  # noqa: PLC0415 - not in 1.25.6

        return {
            "transcription_params": TranscriptionParams(language="en"),
            "input_audio_config": AudioFormatConfig(type=kind, sample_rate=rate_hz),
        }
    params = TranscriptionParams(language="en", sample_rate=rate_hz, input_audio_format=kind)
    return {"transcription_params": params}


def main(url, audio_format, rate_hz, mode, *files):
    conversation = OmniRealtimeConversation(
        model="qwen3-asr-flash-realtime",
        callback=Reporter(),
        url=url,
        api_key=os.environ["DASHSCOPE_API_KEY"],
    )
    conversation.connect()
    conversation.update_session(
        output_modalities=[MultiModality.TEXT],
        enable_turn_detection=mode == "vad",
        **audio_settings(audio_format, int(rate_hz)),
    )
    for file in files:
        for append in Path(file).read_text().split():
            conversation.append_audio(append)
            time.sleep(PACE_S)
        if mode == "manual":
            conversation.commit()
    conversation.end_session()
    conversation.close()
    report("done")


main(*sys.argv[1:])
