"""A program that uses the new client of the vendor's Python SDK (2.0.2 and later).

    python dashscope_client.py URL FORMAT RATE_HZ MODE AUDIO...

Arguments and output as in `dashscope_conversation.py`; the client tells nobody how its socket was closed, so
there is no ["closed", ...]. It has no thread that reads: events are taken here while another thread speaks.
"""

import base64
import json
import os
import sys
import threading
import time
from pathlib import Path

import dashscope

PACE_S = 0.025  # between appends: of 100 ms each, four times as fast as speech


def report(*what):
    print(json.dumps(what), flush=True)  # noqa: T201 - the test reads it


def speak(session, mode, files):
    for file in files:
        for append in Path(file).read_text().split():
            session.append_audio(base64.b64decode(append))
            time.sleep(PACE_S)
        if mode == "manual":
            session.commit()
    session.end_session()


def audio_settings(audio_format, rate_hz):
    if audio_format == "default":
        return {}
    nested, _, kind = audio_format.rpartition("-")
    if nested:
        return {
            "transcription_params": {"language": "en"},
            "input_audio_config": {"type": kind, "sample_rate": rate_hz},
        }
    return {"transcription_params": {"language": "en", "sample_rate": rate_hz, "input_audio_format": kind}}


def main(url, audio_format, rate_hz, mode, *files):
    client = dashscope.Client(api_key=os.environ["DASHSCOPE_API_KEY"])
    with client.audio.realtime.connect(model="qwen3-asr-flash-realtime", ws_url=url) as session:
        report("opened")
        session.update_session(
            output_modalities=["text"],
            enable_turn_detection=mode == "vad",
            **audio_settings(audio_format, int(rate_hz)),
        )
        speaker = threading.Thread(target=speak, args=(session, mode, files), daemon=True)
        speaker.start()
        for event in session.events():
            report("event", event)
        speaker.join()
    report("done")


main(*sys.argv[1:])
