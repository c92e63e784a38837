"""A program that uses the conversation class of the vendor's Python SDK (1.25.6 and later).

    python dashscope_conversation.py URL FORMAT RATE_HZ MODE AUDIO...

MODE is `vad` or `manual`; in manual mode each audio file is a turn that is committed. What the SDK reports is
printed, one JSON array a line: ["opened"], ["event", EVENT], ["closed", CODE, REASON], and in the end ["done"].
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
CLOSE_WITHIN_S = 5.0

_printing = threading.Lock()


def report(*what):
    with _printing:
        print(json.dumps(what), flush=True)


class Reporter(OmniRealtimeCallback):
    def __init__(self):
        self.closed = threading.Event()

    def on_open(self):
        report("opened")

    def on_event(self, response):
        report("event", response)

    def on_close(self, code, reason):
        report("closed", code, reason)
        self.closed.set()


def main(url, audio_format, rate_hz, mode, *files):
    reporter = Reporter()
    conversation = OmniRealtimeConversation(
        model="qwen3-asr-flash-realtime", callback=reporter, url=url, api_key="any"
    )
    conversation.connect()
    conversation.update_session(
        output_modalities=[MultiModality.TEXT],
        enable_turn_detection=mode == "vad",
        transcription_params=TranscriptionParams(
            language="en", sample_rate=int(rate_hz), input_audio_format=audio_format
        ),
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
    if reporter.closed.wait(CLOSE_WITHIN_S):
        report("done")


main(*sys.argv[1:])
