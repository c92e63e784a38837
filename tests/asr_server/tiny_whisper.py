"""Whisper models with random weights, small enough to be made for a test."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tokenizers
from ctranslate2.specs import WhisperSpec

WIDTH, POSITIONS, TEXT_POSITIONS = 8, 1500, 448
TOKENS = 51_865
# The vocabulary of the multilingual models has an empty word, and by that CTranslate2 knows them.
EMPTY_WORD = 50_256
SPECIAL = {
    "<|endoftext|>": 50_257,
    "<|startoftranscript|>": 50_258,
    "<|en|>": 50_259,
    "<|de|>": 50_261,
    "<|translate|>": 50_358,
    "<|transcribe|>": 50_359,
    "<|startoflm|>": 50_360,
    "<|startofprev|>": 50_361,
    "<|nospeech|>": 50_362,
    "<|notimestamps|>": 50_363,
}
LANGUAGES = range(50_259, 50_358)


def make_model(folder: Path, *, is_multilingual: bool = True, bands: int = 80) -> Path:
    """A folder as faster-whisper uses them."""
    generator = np.random.default_rng(1)

    def weights(*shape: int) -> np.ndarray:
        return generator.normal(0, 0.1, shape).astype(np.float32)

    def fill(spec, rows: int, columns: int, *kernel: int) -> None:
        spec.weight, spec.bias = weights(rows, columns, *kernel), weights(rows)

    def norm(spec) -> None:
        spec.gamma, spec.beta = np.ones(WIDTH, dtype=np.float32), weights(WIDTH)

    def attend(attention, widths: list[int]) -> None:
        norm(attention.layer_norm)
        for linear, width in zip(attention.linear, widths, strict=True):
            fill(linear, width, WIDTH)

    spec = WhisperSpec(1, 2, 1, 2)
    fill(spec.encoder.conv1, WIDTH, bands, 3)
    fill(spec.encoder.conv2, WIDTH, WIDTH, 3)
    spec.encoder.position_encodings.encodings = weights(POSITIONS, WIDTH)
    spec.decoder.position_encodings.encodings = weights(TEXT_POSITIONS, WIDTH)
    norm(spec.encoder.layer_norm)
    norm(spec.decoder.layer_norm)
    spec.decoder.embeddings.weight = weights(TOKENS, WIDTH)
    spec.decoder.projection.weight = spec.decoder.embeddings.weight
    for layer in (spec.encoder.layer[0], spec.decoder.layer[0]):
        attend(layer.self_attention, [3 * WIDTH, WIDTH])
        norm(layer.ffn.layer_norm)
        fill(layer.ffn.linear_0, WIDTH, WIDTH)
        fill(layer.ffn.linear_1, WIDTH, WIDTH)
    attend(spec.decoder.layer[0].attention, [WIDTH, 2 * WIDTH, WIDTH])

    names = {number: name for name, number in SPECIAL.items()}
    if is_multilingual:
        names[EMPTY_WORD] = ""
    vocabulary = [names.get(number, f"t{number}") for number in range(TOKENS)]
    spec.register_vocabulary(vocabulary)
    spec.config.suppress_ids, spec.config.suppress_ids_begin = [], []
    spec.config.lang_ids = list(LANGUAGES)
    spec.validate()
    folder.mkdir()
    spec.save(str(folder))
    tokenizer = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({name: number for number, name in enumerate(vocabulary)}, "t0")
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder
