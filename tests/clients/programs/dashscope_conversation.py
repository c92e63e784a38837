"""A program that uses the conversation class of the vendor's Python SDK (1.25.6 and later).

    python dashscope_conversation.py URL FORMAT RATE_HZ MODE AUDIO...

FORMAT is that of the audio, or `default`: the SDK is then told nothing about audio and language. MODE is
`vad` or `manual`; in manual mode each audio file is a turn that is committed. What the SDK tells is printed,
one JSON array a line: ["opened"], ["event", EVENT], ["closed", CODE, REASON], and in the end ["done"].
The end does not wait for ["closed", ...]: in websocket-client, which the SDK builds on, the thread that
closes and the one that reads race for the other side's close frame; where the former wins, the callback
comes up to ten seconds later.
"""

import base64
import json
import sys
import threading
import time
from pathlib import Path

from dashscope.audio.qwen_omni import MultiModality, OmniRealtimeCallback, OmniRealtimeConversation
from dashscope.audio.qwen_omni.omni_realtime import TranscriptionParams

APPEND_MS = 100
PACE_S = 0.025  # between appends: four times as fast as speech

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


def main(url, audio_format, rate_hz, mode, *files):
    conversation = OmniRealtimeConversation(
        model="qwen3-asr-flash-realtime", callback=Reporter(), url=url, api_key="any"
    )
    conversation.connect()
    params = TranscriptionParams(language="en", sample_rate=int(rate_hz), input_audio_format=audio_format)
    conversation.update_session(
        output_modalities=[MultiModality.TEXT],
        enable_turn_detection=mode == "vad",
        transcription_params=None if audio_format == "default" else params,
    )
    size = 2 * int(rate_hz) * APPEND_MS // 1000
    for file in files:
        audio = Path(file).read_bytes()
        for start in range(0, len(audio), size):
            conversation.append_audio(base64.b64encode(audio[start : start + size]).decode())
            time.sleep(PACE_S)
        if mode == "manual":
            conversation.commit()
    conversation.end_session()
    conversation.close()
    report("done")


main(*sys.argv[1:])
