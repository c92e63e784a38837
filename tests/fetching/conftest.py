"""A package index of our own: a folder of wheels that pip is told to look into, and nowhere else."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from qa_service.fetching import WheelSpec

Publish = Callable[..., WheelSpec]


@pytest.fixture
def publish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Publish:
    """Puts a wheel with the given members into the index; gives its pin."""
    index = tmp_path / "index"
    index.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")

    def write(members: dict[str, bytes], *, name: str = "pinned_data", executable: str = "") -> WheelSpec:
        path = index / f"{name}-1.0-py3-none-any.whl"
        info = f"{name}-1.0.dist-info"
        texts = {
            f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
            f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            f"{info}/RECORD": "",
        }
        with zipfile.ZipFile(path, "w") as archive:
            for member, content in {**members, **texts}.items():
                entry = zipfile.ZipInfo(member)
                entry.external_attr = (0o755 if member == executable else 0o600) << 16
                archive.writestr(entry, content)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        return WheelSpec(name=name, version="1.0", sha256=("0" * 64, digest), licence="MIT")

    return write
