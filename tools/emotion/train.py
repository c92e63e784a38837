"""Train the emotion model on EmoDB and say what it is worth.

    python tools/emotion/train.py --corpus DIR [--read-speech DIR] [--voices-cache FILE]

`--corpus`: a folder with the EmoDB recordings and a `manifest.jsonl` (a JSON object a line: file, speaker,
emotion, full_length). Writes the weights and, beside them, a provenance file. Takes about three minutes on
one core. The same input on the same kind of CPU gives the same weights (int8 arithmetic differs between
kinds).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import soundfile
from alterations import COPIES
from corpus import FULL_LENGTH, LONGEST_CLIP_S, Voices, hear_corpus, read_clips
from figures import Scored, leave_one_speaker_out, score, training_part
from fitting import SHRINKAGE, fit

from qa_service.asr_server.emotion.encoder import Ear
from qa_service.asr_server.emotion.model import WEIGHTS_PATH, EmotionModel, Weights
from qa_service.audio.line import through_line
from qa_service.fetching import sha256_of
from qa_service.models import CATALOGUE, default_cache_dir, ensure

HELD_OUT: Final = ("03", "08")  # one man, one woman; never trained on, so that their voices may be shown
SEED: Final = 1
_TEMPERATURES: Final = (1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 6.0, 8.0)
_HARDEST_COPY: Final = COPIES - 1
_MIN_CONFIDENCE: Final = 0.5  # more likely than everything else together


def main() -> None:
    """Train, measure, write."""
    options = _read_options()
    ear = Ear(ensure("whisper-base-layer3", default_cache_dir(), _say))
    voices = _voices(options.corpus, options.voices_cache, ear)
    weights = _fit_and_calibrate(voices)
    figures = _measure(voices, weights)
    if options.read_speech:
        figures["read_speech"] = _labels_of_read_speech(options.read_speech, EmotionModel(weights, ear))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    np.savez(options.out, **{name: getattr(weights, name) for name in Weights.__slots__})
    provenance = json.dumps(_provenance(options.out, weights, figures), indent=2) + "\n"
    options.out.with_suffix(".json").write_text(provenance)
    print(provenance)


def _read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train the emotion model on EmoDB.")
    parser.add_argument("--corpus", type=Path, required=True, help="EmoDB folder with manifest.jsonl")
    parser.add_argument(
        "--read-speech", type=Path, help="folder of unemotional recordings with manifest.jsonl"
    )
    parser.add_argument("--voices-cache", type=Path, help="npz file to keep the heard voices in between runs")
    parser.add_argument("--out", type=Path, default=WEIGHTS_PATH, help="default: %(default)s")
    return parser.parse_args()


def _say(line: str) -> None:
    print(line, file=sys.stderr)


def _voices(corpus: Path, cache: Path | None, ear: Ear) -> Voices:
    if cache and cache.exists():
        with np.load(cache, allow_pickle=False) as arrays:
            return Voices(**{name: arrays[name] for name in Voices.__slots__})
    voices = hear_corpus(read_clips(corpus), ear, SEED)
    if cache:
        np.savez(cache, **{name: getattr(voices, name) for name in Voices.__slots__})
    return voices


def _fit_and_calibrate(voices: Voices) -> Weights:
    """Weights from all but the held-out speakers; the temperature from the hardest copies of unheard ones."""
    hardest = leave_one_speaker_out(voices.where(~np.isin(voices.speaker, HELD_OUT)), _HARDEST_COPY)
    temperature = min(_TEMPERATURES, key=hardest.log_loss)
    return replace(
        fit(training_part(voices, HELD_OUT)),
        temperature=np.asarray(temperature, np.float32),
        min_confidence=np.asarray(_MIN_CONFIDENCE, np.float32),
    )


def _measure(voices: Voices, weights: Weights) -> dict[str, Any]:
    held_out = np.isin(voices.speaker, HELD_OUT)
    return {
        "leave_one_speaker_out": _summary(leave_one_speaker_out(voices, 0), weights),
        "leave_one_speaker_out_hardest_copies": _summary(
            leave_one_speaker_out(voices, _HARDEST_COPY), weights
        ),
        "held_out_cut": _summary(score(weights, voices.where(held_out & (voices.copy == 0))), weights),
        "held_out_full_length": _summary(
            score(weights, voices.where(held_out & (voices.copy == FULL_LENGTH))), weights
        ),
    }


def _summary(scored: Scored, weights: Weights) -> dict[str, Any]:
    return {
        "utterances": len(scored.emotion),
        "unweighted_recall": round(scored.unweighted_recall(), 3),
        "anger_auc": round(scored.anger_auc(), 4),
        "outcomes": scored.outcomes(float(weights.temperature), float(weights.min_confidence)),
    }


def _labels_of_read_speech(folder: Path, model: EmotionModel) -> dict[str, dict[str, int]]:
    """What the model says of speech without emotion, by language: all but neutral is a false alarm."""
    said: dict[str, Counter[str]] = defaultdict(Counter)
    for line in (folder / "manifest.jsonl").read_text().splitlines():
        entry = json.loads(line)
        samples, rate = soundfile.read(folder / entry["file"], dtype="float32", always_2d=True)
        estimate = model.classify(through_line(samples[:, 0], rate)).estimate
        said[entry["language"]][estimate.label or str(estimate.abstention)] += 1
    return {language: dict(counts) for language, counts in sorted(said.items())}


def _provenance(weights_path: Path, weights: Weights, figures: dict[str, Any]) -> dict[str, Any]:
    encoder = next(file for file in CATALOGUE["whisper-base-layer3"].files if file.name == "model.bin")
    return {
        "weights": weights_path.name,
        "sha256": sha256_of(weights_path),
        "corpus": {
            "name": "EmoDB, Berlin Database of Emotional Speech (Burkhardt et al., 2005)",
            "licence": "CC0-1.0, as stated in the data card of audeering/emodb",
            "used": "535 utterances of ten actors, German; training on eight of them",
            "held_out_speakers": list(HELD_OUT),
        },
        "encoder": {"name": "whisper-base-layer3", "sha256": encoder.sha256, "licence": "MIT"},
        "recipe": {
            "channel": "8 kHz, Butterworth order 4, 300-3400 Hz, G.711 mu-law; trimmed; -23 dBFS",
            "longest_clip_s": LONGEST_CLIP_S,
            "copies": ["unaltered", "speed", "noise", "gain", "opus", "band edges", "crop", "mixture"],
            "values": "512 encoder means, 28 prosody, 98 timbre and modulation",
            "reference": "neutral and boredom count half",
            "classifier": f"linear discriminants, equal priors, correlation shrunk {SHRINKAGE} to identity",
            "never_emitted": ["boredom"],
            "seed": SEED,
            "temperature": float(weights.temperature),
            "min_confidence": float(weights.min_confidence),
        },
        "figures": figures,
    }


if __name__ == "__main__":
    main()
