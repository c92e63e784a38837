"""A program that uses the new client of the vendor's Python SDK (2.0.2 and later).

    python dashscope_client.py URL FORMAT RATE_HZ MODE AUDIO...

Arguments and output as in `dashscope_conversation.py`; the client tells nobody how its socket was closed, so
there is no ["closed", ...]. It has no thread that reads: events are taken here while another thread speaks.
"""

import json
import sys
import threading
import time
from pathlib import Path

import dashscope

APPEND_MS = 100
PACE_S = 0.025  # between appends: four times as fast as speech


def report(*what):
    print(json.dumps(what), flush=True)  # noqa: T201 - the test reads it


def speak(session, size, mode, files):
    for file in files:
        audio = Path(file).read_bytes()
        for start in range(0, len(audio), size):
            session.append_audio(audio[start : start + size])
            time.sleep(PACE_S)
        if mode == "manual":
            session.commit()
    session.end_session()


def main(url, audio_format, rate_hz, mode, *files):
    client = dashscope.Client(api_key="any")
    with client.audio.realtime.connect(model="qwen3-asr-flash-realtime", ws_url=url) as session:
        report("opened")
        params = {"language": "en", "sample_rate": int(rate_hz), "input_audio_format": audio_format}
        session.update_session(
            output_modalities=["text"],
            enable_turn_detection=mode == "vad",
            transcription_params=None if audio_format == "default" else params,
        )
        size = 2 * int(rate_hz) * APPEND_MS // 1000
        speaker = threading.Thread(target=speak, args=(session, size, mode, files), daemon=True)
        speaker.start()
        for event in session.events():
            report("event", event)
        speaker.join()
    report("done")


main(*sys.argv[1:])
