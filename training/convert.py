"""GGUF to a Hugging Face model folder, checked before anybody trains on it."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.errors import ConversionError
from training.process import quiet

# Pre-tokenisers in which digits stand alone, which transformers' converter leaves out.
DIGITS_ALONE = {"smollm"}
# A known encoding of each, taken from llama.cpp: two blanks are one token, the digit stands alone.
KNOWN_ENCODING = {"smollm": ("abc  5 days", [25276, 256, 37, 2009])}
ROUND_TRIP = (
    "Hello, world!",
    "In 1984, 3.14159 ± 2",
    "def f(x):\n    return x  # twice\n",
    "naïve café — 東京 🙂",
)
CAPITAL = ("The capital of France is", "Paris")


@dataclass(frozen=True, slots=True)
class Converted:
    """A model folder that loads with from_pretrained, and how many parameters it holds."""

    folder: Path
    parameters: int


@dataclass(frozen=True, slots=True)
class GgufFacts:
    """What the GGUF header says and the converter does not carry over."""

    pre_tokenizer: str
    context_length: int
    chat_template: str | None
    name: str


def convert_gguf(gguf: Path, out: Path) -> Converted:
    """Write the model in `gguf` to `out` as bfloat16 safetensors with the right tokenizer.

    Raises ConversionError where the file cannot be read or the result does not encode, decode and compute as
    it must; `out` then stays as it was.
    """
    facts = read_facts(gguf)
    out.parent.mkdir(parents=True, exist_ok=True)
    with quiet(), _staged(out) as folder:
        model = _load_dense(gguf)
        model.save_pretrained(folder)
        _edit_json(folder / "config.json", drop=("_model_name_or_path", "quantization_config"))
        _write_tokenizer(gguf, facts, folder)
        check_tokenizer(folder, facts.pre_tokenizer)
        _check_model(folder, model, facts)
        parameters = int(model.num_parameters())
    return Converted(out, parameters)


def read_facts(gguf: Path) -> GgufFacts:
    """Read the header of a GGUF file; ConversionError where it is none."""
    from gguf import GGUFReader

    try:
        fields = GGUFReader(gguf).fields
    except (OSError, ValueError) as error:
        raise ConversionError(f"{gguf}: not a readable GGUF file ({error}); fetch it again") from error

    def value(key: str) -> Any:
        return fields[key].contents() if key in fields else None

    architecture = value("general.architecture")
    context = value(f"{architecture}.context_length")
    if not isinstance(context, int):
        raise ConversionError(
            f"{gguf}: the header has no {architecture}.context_length; convert another file"
        )
    return GgufFacts(
        pre_tokenizer=str(value("tokenizer.ggml.pre") or "default"),
        context_length=context,
        chat_template=value("tokenizer.chat_template"),
        name=str(value("general.name") or gguf.stem),
    )


def _load_dense(gguf: Path) -> Any:
    import torch
    from transformers import AutoModelForCausalLM, GgufConfig

    # Without an explicit dequantize the model cannot be saved: "quantized with gguf and is not serializable".
    config = GgufConfig(gguf_file=gguf.name, dequantize=True)
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # its progress bar heeds no setting
            model = AutoModelForCausalLM.from_pretrained(
                gguf.parent, gguf_file=gguf.name, quantization_config=config, dtype=torch.bfloat16
            )
    except (KeyError, ValueError, NotImplementedError) as error:
        raise ConversionError(
            f"{gguf}: transformers cannot convert it ({error}); use another base"
        ) from error
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.hf_quantizer = None
    return model.eval()


def _write_tokenizer(gguf: Path, facts: GgufFacts, folder: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    tokenizer.chat_template = facts.chat_template
    tokenizer.save_pretrained(folder)
    settings = {"model_max_length": facts.context_length, "padding_side": "left"}
    _edit_json(folder / "tokenizer_config.json", drop=("is_local", "local_files_only"), put=settings)
    if facts.pre_tokenizer in DIGITS_ALONE:
        _add_digits(folder / "tokenizer.json")


def _add_digits(path: Path) -> None:
    tokenizer = json.loads(path.read_text(encoding="utf-8"))
    steps = [{"type": "Digits", "individual_digits": True}, tokenizer["pre_tokenizer"]]
    tokenizer["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": steps}
    path.write_text(json.dumps(tokenizer, ensure_ascii=False), encoding="utf-8")


def check_tokenizer(folder: Path, pre_tokenizer: str) -> None:
    """Raise ConversionError unless the tokenizer gives back every text, and llama.cpp's ids where known."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    for text in ROUND_TRIP:
        back = tokenizer.decode(tokenizer(text, add_special_tokens=False).input_ids, skip_special_tokens=True)
        if back != text:
            raise ConversionError(f"the converted tokenizer turns {text!r} into {back!r}; use another file")
    text, expected = KNOWN_ENCODING.get(pre_tokenizer, ("", []))
    got = tokenizer(text, add_special_tokens=False).input_ids
    if got != expected:
        raise ConversionError(
            f"the converted tokenizer encodes {text!r} as {got}, llama.cpp as {expected}; use another file"
        )


def _check_model(folder: Path, model: Any, facts: GgufFacts) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    prompt, answer = CAPITAL
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = tokenizer(prompt, return_tensors="pt").input_ids
    loaded = AutoModelForCausalLM.from_pretrained(folder).eval()
    with torch.inference_mode():
        logits, again = model(ids).logits, loaded(ids).logits
    if not torch.isfinite(logits).all():
        raise ConversionError(f"{facts.name}: the converted model computes infinite or undefined logits")
    if not torch.equal(logits, again):
        raise ConversionError(
            f"{facts.name}: the saved folder computes other logits than the converted model"
        )
    top = tokenizer.decode(logits[0, -1].topk(5).indices)
    if facts.pre_tokenizer in KNOWN_ENCODING and answer not in top:
        raise ConversionError(
            f"{facts.name}: after {prompt!r} comes {top!r}, not {answer!r}: the weights are wrong"
        )


def _edit_json(path: Path, drop: tuple[str, ...], put: dict[str, Any] | None = None) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    kept = {key: value for key, value in content.items() if key not in drop} | (put or {})
    path.write_text(json.dumps(kept, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


@contextlib.contextmanager
def _staged(out: Path) -> Iterator[Path]:
    """Yield a folder beside `out` that takes its place only when all went well."""
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as scratch:
        folder = Path(scratch) / out.name
        folder.mkdir()
        yield folder
        shutil.rmtree(out, ignore_errors=True)
        folder.rename(out)
