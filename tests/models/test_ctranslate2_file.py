"""The model file format, and the encoder cut: against bytes, and against the encoder's own mathematics."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, strategies as st
from scipy.special import erf

from qa_service.models import ensure
from qa_service.models.ctranslate2_file import (
    Ct2Model,
    ModelFormatError,
    Variable,
    cut_encoder,
    dump_model,
    parse_model,
)

NAMES = st.text(st.characters(codec="ascii", exclude_characters="\0"), min_size=1, max_size=12)
VARIABLES = st.builds(
    lambda name, shape, dtype, data: Variable(name, tuple(shape), dtype, memoryview(data)),
    NAMES,
    st.lists(st.integers(0, 2**32 - 1), max_size=4),
    st.integers(0, 255),
    st.binary(max_size=20),
)
MODELS = st.builds(
    lambda spec, revision, variables, aliases: Ct2Model(spec, revision, tuple(variables), tuple(aliases)),
    NAMES,
    st.integers(0, 2**32 - 1),
    st.lists(VARIABLES, max_size=4),
    st.lists(st.tuples(NAMES, NAMES), max_size=2),
)


@given(MODELS)
def test_a_written_model_reads_back_as_it_was(model):
    assert parse_model(dump_model(model)) == model


@given(MODELS, st.data())
def test_a_model_cut_short_anywhere_is_refused(model, data):
    content = dump_model(model)
    length = data.draw(st.integers(0, len(content) - 1))

    with pytest.raises(ModelFormatError):
        parse_model(content[:length])


def test_another_version_is_refused_by_number():
    with pytest.raises(ModelFormatError, match="version 7 is not 6"):
        parse_model(b"\x07\0\0\0" + bytes(40))


def variable(name: str, rows: int = 2) -> Variable:
    return Variable(name, (rows, 3), 4, memoryview(bytes(rows * 6)))


def test_a_cut_keeps_the_first_encoder_layers_and_as_little_decoder_as_loads():
    names = ["encoder/conv1/weight", "encoder/layer_norm/beta", "decoder/layer_norm/beta"]
    names += [f"encoder/layer_{i}/ffn/w" for i in range(12)] + [f"decoder/layer_{i}/ffn/w" for i in range(12)]
    whole = Ct2Model("WhisperSpec", 3, tuple(map(variable, [*names, "decoder/embeddings/weight"])), ())

    cut = cut_encoder(whole, layers=3)

    assert [v.name for v in cut.variables] == [
        *names[:3],
        *(f"encoder/layer_{i}/ffn/w" for i in range(3)),
        "decoder/layer_0/ffn/w",
        "decoder/embeddings/weight",
    ]
    assert (cut.variables[-1].shape, cut.variables[-1].data.nbytes) == ((1, 3), 6)


@pytest.mark.models
def test_the_cut_encodes_as_three_layers_and_the_closing_norm_do(cache_dir):
    import ctranslate2  # noqa: PLC0415 - slow to import, and only this test needs it

    whole = parse_model((ensure("whisper-base", cache_dir) / "model.bin").read_bytes())
    tensors = {
        v.name: np.frombuffer(v.data, np.float16).reshape(v.shape).astype(np.float32)
        for v in whole.variables
        if v.dtype == 4
    }
    mel = np.random.default_rng(0).normal(0, 0.5, (80, 200)).astype(np.float32)
    folder = ensure("whisper-base-layer3", cache_dir)
    cut = ctranslate2.models.Whisper(str(folder), compute_type="float32", intra_threads=1)

    expected = three_layers(tensors, mel)

    encoded = np.array(cut.encode(ctranslate2.StorageView.from_array(mel[None]), to_cpu=True))[0]
    assert np.abs(expected - encoded).max() < 2e-3


def three_layers(tensors: dict[str, np.ndarray], mel: np.ndarray) -> np.ndarray:
    """Whisper's encoder written out (pre-norm transformer), stopped after its third layer."""

    def linear(x, name):
        return x @ tensors[f"{name}/weight"].T + tensors[f"{name}/bias"]

    def norm(x, name):
        centred = x - x.mean(axis=1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(axis=1, keepdims=True) + 1e-5)
        return scaled * tensors[f"{name}/gamma"] + tensors[f"{name}/beta"]

    def gelu(x):
        return x * 0.5 * (1 + erf(x / np.sqrt(2)))

    def convolve(x, name, stride):
        padded = np.pad(x, ((1, 1), (0, 0)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, 3, axis=0)[::stride]
        return np.einsum("tck,ock->to", windows, tensors[f"{name}/weight"]) + tensors[f"{name}/bias"]

    def attend(x, name, heads=8):
        query, key, value = (
            part.reshape(len(x), heads, -1).transpose(1, 0, 2)
            for part in np.split(linear(x, f"{name}/linear_0"), 3, axis=1)
        )
        scores = query @ key.transpose(0, 2, 1) / np.sqrt(query.shape[-1])
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        weights /= weights.sum(axis=-1, keepdims=True)
        return linear((weights @ value).transpose(1, 0, 2).reshape(x.shape), f"{name}/linear_1")

    x = gelu(convolve(gelu(convolve(mel.T, "encoder/conv1", 1)), "encoder/conv2", 2))
    x = x + tensors["encoder/position_encodings/encodings"][: len(x)]
    for layer in (f"encoder/layer_{i}" for i in range(3)):
        x = x + attend(norm(x, f"{layer}/self_attention/layer_norm"), f"{layer}/self_attention")
        inner = gelu(linear(norm(x, f"{layer}/ffn/layer_norm"), f"{layer}/ffn/linear_0"))
        x = x + linear(inner, f"{layer}/ffn/linear_1")
    return norm(x, "encoder/layer_norm")
