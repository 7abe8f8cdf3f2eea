"""Measures trainings beside plain TRL's defaults: tokens a second, share of the peak, peak memory.

    python benchmarks/training.py                 # what this machine can: without a GPU, about two minutes
    python benchmarks/training.py full qlora      # sections by name, on one GPU
    python benchmarks/training.py full --micro-batch 4 --no-checkpointing --steps 4

Models have random weights in the shape of the real ones, so nothing is downloaded. Every line is a process
of its own; the steps before `--warm` are not counted. Tokens are those of the pairs, without padding. Beside
each of our lines on a GPU stands what the forecast says of it. Sections that need a GPU are named, and left
out where there is none.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from training.devices import GIB, Gpu, gpu_here
from training.encode import IGNORED, Example
from training.fitting import choose, workload
from training.forecast import memory, model_flops, speed
from training.settings import TrainSettings
from training.shapes import Shape, shape_of

LLAMA = {"model_type": "llama", "vocab_size": 32000, "max_position_embeddings": 4096}
SIZES = {
    "small": {
        "vocab_size": 8192, "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 4,
        "num_attention_heads": 9, "num_key_value_heads": 3, "tie_word_embeddings": True,
    },  # SmolLM2-135M's layers, fewer of them
    "7B": {
        "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
        "num_attention_heads": 32, "num_key_value_heads": 32,
    },
    "70B": {
        "hidden_size": 8192, "intermediate_size": 28672, "num_hidden_layers": 80,
        "num_attention_heads": 64, "num_key_value_heads": 8,
    },
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One line: a method on a size; `wanted` is what it is to reach on one H100 of 80 GB."""

    size: str
    settings: dict[str, Any]
    wanted: str = ""
    float8: bool = False
    gpu: bool = True
    length: int = 2048
    batch: int = 32


BFLOAT16 = {"method": "full", "weights": "bfloat16"}
SECTIONS = {
    "cpu-full": Case("small", {"method": "full"}, gpu=False, length=192, batch=8),
    "cpu-lora": Case("small", {"method": "lora"}, gpu=False, length=192, batch=8),
    "cpu-qlora": Case("small", {"method": "qlora"}, gpu=False, length=192, batch=8),
    "full": Case("7B", BFLOAT16, ">= 14,500 tokens/s"),
    "full-float8": Case("7B", BFLOAT16, ">= 17,500 tokens/s", float8=True),
    "full-packed": Case("7B", BFLOAT16 | {"packing": True}, "within 3 % of full"),
    "qlora": Case("7B", {"method": "qlora"}, ">= 16,000 tokens/s"),
    "qlora-12gib": Case(
        "7B",
        {"method": "qlora", "micro_batch": 8, "gradient_checkpointing": True},
        ">= 10,500 tokens/s in <= 12 GiB",
    ),
    "qlora-70b": Case("70B", {"method": "qlora"}, ">= 1,400 tokens/s in <= 60 GiB"),
}


@dataclass
class Measured:
    """What one process saw."""

    tokens_per_second: float
    memory: float
    settings: dict[str, Any]
    pair_tokens: float
    seconds: list[float] = field(default_factory=list)


def config_of(case: Case) -> dict[str, Any]:
    return LLAMA | SIZES[case.size]


def examples_of(case: Case, count: int) -> list[Example]:
    """Random pairs: as long as can be on a GPU, of real lengths where they are packed or few."""
    numbers = random.Random(0)
    vocabulary = config_of(case)["vocab_size"]
    found = []
    for index in range(count):
        length = case.length
        if not case.gpu or case.settings.get("packing"):
            length = max(16, min(length, round(numbers.lognormvariate(6.0 if case.gpu else 4.3, 0.6))))
        ids = [numbers.randrange(3, vocabulary) for _ in range(length)]
        found.append(Example(f"pair{index}", ids, [IGNORED] * (length // 4) + ids[length // 4 :], False))
    return found


def settings_of(
    case: Case, shape: Shape, gpu: Gpu | None, steps: int, changes: dict[str, Any]
) -> TrainSettings:
    settings = TrainSettings(
        **(case.settings | changes), steps=steps, batch_size=case.batch, max_length=case.length,
        attention_dropout=0.0, save_steps=10**6,
    )  # fmt: skip
    if gpu is None:
        return settings.resolve("cpu")
    return choose(settings, shape, gpu).resolve("cuda")


def tokenizer() -> Any:
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({"<pad>": 0, "<eos>": 1, "<unk>": 2}, unk_token="<unk>"))
    return PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", eos_token="<eos>")


def random_model(case: Case, dtype: Any) -> Any:
    """A model of the case's shape: for qlora its linear layers are made and packed into 4 bits one by one."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(**config_of(case))
    config._attn_implementation = "sdpa"
    where = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    if case.settings["method"] != "qlora":
        torch.set_default_dtype(dtype)
        try:
            with torch.device(where):
                return AutoModelForCausalLM.from_config(config, dtype=dtype)
        finally:
            torch.set_default_dtype(torch.float32)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=dtype)
    return in_four_bits(model, where, dtype)


def in_four_bits(model: Any, where: str, dtype: Any) -> Any:
    import torch
    from bitsandbytes.nn import Linear4bit, Params4bit
    from transformers.quantizers.auto import AutoHfQuantizer

    from training.methods import _keep_layout, four_bit

    head = model.get_output_embeddings()
    for name, old in list(model.named_modules()):
        if not isinstance(old, torch.nn.Linear) or old is head:
            continue
        new = Linear4bit(
            old.in_features, old.out_features, bias=False, compute_dtype=dtype, compress_statistics=True,
            quant_type="nf4", quant_storage=dtype, device="meta",
        )  # fmt: skip
        numbers = 0.02 * torch.randn(old.out_features, old.in_features, dtype=dtype, device=where)
        new.weight = Params4bit(
            numbers, requires_grad=False, compress_statistics=True, quant_type="nf4", quant_storage=dtype
        ).to(where)
        parent, _, last = name.rpartition(".")
        setattr(model.get_submodule(parent), last, new)
    for module in model.modules():
        for key, value in list(module._parameters.items()):
            if value is not None and value.is_meta:
                filled = torch.ones if value.ndim == 1 else lambda *s, **k: 0.02 * torch.randn(*s, **k)
                made = filled(*value.shape, dtype=dtype, device=where)
                module._parameters[key] = torch.nn.Parameter(made, requires_grad=False)
        rotary = getattr(module, "inv_freq", None)
        if rotary is not None and rotary.is_meta:
            fresh = type(module)(config=model.config).to(where)
            module.inv_freq, module.original_inv_freq = fresh.inv_freq, fresh.inv_freq
    model.config.quantization_config = four_bit(dtype)
    model.is_loaded_in_4bit = model.is_quantized = True
    model.hf_quantizer = AutoHfQuantizer.from_config(four_bit(dtype), pre_quantized=False)
    model.quantization_method = "bitsandbytes"
    _keep_layout(model)
    return model


def ours(case: Case, settings: TrainSettings, steps: int, folder: Path) -> Iterator[tuple[int, float]]:
    """Train with this project's trainer; yield each step's tokens and seconds."""
    import torch

    from training.layout import lay_out
    from training.trainer import build_trainer
    from training.watch import Run

    examples = examples_of(case, case.batch * steps)
    layout = lay_out([len(example.input_ids) for example in examples], settings)
    told: list[tuple[int, float]] = []
    clock = Clock()

    def on_step(event: Any) -> None:
        told.append((layout.tokens(event.step), clock.lap()))

    run = Run(settings, examples, layout, folder, on_step)
    trains_in_float32 = settings.method == "full" and settings.weights == "float32"
    on_cpu = not torch.cuda.is_available()
    model = random_model(case, torch.float32 if on_cpu or trains_in_float32 else torch.bfloat16)
    if case.float8:
        from torchao.float8 import convert_to_float8_training

        convert_to_float8_training(model.model)
    trainer = build_trainer(run, model, tokenizer())
    run.start(trainer, None)
    clock.lap()
    trainer.train()
    yield from told


def plain_trl(case: Case, settings: TrainSettings, steps: int, folder: Path) -> Iterator[tuple[int, float]]:
    """Train with TRL as it comes: its own defaults, and of the batch as much at a time as it takes."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import TrainerCallback
    from trl import SFTConfig, SFTTrainer

    on_cpu = not torch.cuda.is_available()
    examples = examples_of(case, case.batch * steps)
    micro = min(8, case.batch)
    small_states = not on_cpu and case.settings["method"] == "full"  # its default ones do not fit beside 7B
    arguments = SFTConfig(
        output_dir=str(folder), max_steps=steps, per_device_train_batch_size=micro,
        gradient_accumulation_steps=case.batch // micro, max_length=case.length, use_cpu=on_cpu,
        bf16=not on_cpu, optim="adamw_bnb_8bit" if small_states else "adamw_torch_fused",
        train_sampling_strategy="sequential", save_strategy="no", report_to="none", logging_steps=1,
        disable_tqdm=True,
    )  # fmt: skip
    told: list[tuple[int, float]] = []
    clock = Clock()

    class Laps(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            at = (state.global_step - 1) * case.batch
            told.append((sum(len(e.input_ids) for e in examples[at : at + case.batch]), clock.lap()))

    rows = [{"input_ids": example.input_ids, "labels": example.labels} for example in examples]
    adapter = LoraConfig(r=settings.lora_rank, lora_alpha=settings.lora_alpha, target_modules="all-linear",
                         lora_dropout=settings.lora_dropout, task_type="CAUSAL_LM")  # fmt: skip
    trainer = SFTTrainer(
        model=random_model(case, torch.float32 if on_cpu else torch.bfloat16), args=arguments,
        train_dataset=Dataset.from_list(rows), processing_class=tokenizer(),
        peft_config=None if case.settings["method"] == "full" else adapter, callbacks=[Laps()],
    )  # fmt: skip
    clock.lap()
    trainer.train()
    yield from told


class Clock:
    """Seconds since the last lap, with all work of the GPU done."""

    def __init__(self) -> None:
        self._last = time.perf_counter()

    def lap(self) -> float:
        import torch

        if torch.cuda.is_available():
            torch.cuda.synchronize()
        now = time.perf_counter()
        took, self._last = now - self._last, now
        return took


def child(name: str, who: str, steps: int, warm: int, changes: dict[str, Any]) -> None:
    """Measure one line and print it as JSON."""
    import torch

    from training.process import keep_freed_memory, quiet

    case = SECTIONS[name]
    gpu = gpu_here() if torch.cuda.is_available() else None
    settings = settings_of(case, shape_of(config_of(case)), gpu, steps, changes)
    if who == "ours":
        keep_freed_memory()
    with tempfile.TemporaryDirectory() as folder, quiet():
        trained = ours if who == "ours" else plain_trl
        laps = list(trained(case, settings, steps, Path(folder)))[warm:]
    tokens, seconds = (sum(column) for column in zip(*laps, strict=True))
    peak = (
        torch.cuda.max_memory_allocated()
        if gpu
        else 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    )
    found = Measured(
        tokens / seconds, peak / GIB, settings.model_dump(), tokens / len(laps) / case.batch,
        [round(lap, 2) for _, lap in laps],
    )  # fmt: skip
    print(json.dumps(asdict(found)))


def measure(name: str, who: str, options: argparse.Namespace, changes: dict[str, Any]) -> Measured | None:
    """Run one line in a process of its own; None, with its last words, where it fails."""
    command = [sys.executable, "-W", "ignore", __file__, name, "--child", who, "--steps", str(options.steps),
               "--warm", str(options.warm), "--changes", json.dumps(changes)]  # fmt: skip
    waits = {"OMP_WAIT_POLICY": "PASSIVE"} if who == "ours" else {}  # as `training.sft.train` has it
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **waits})
    if done.returncode:
        last = (done.stderr.strip() or "no word").splitlines()[-1]
        print(f"{name:<12} {who:<10} failed: {last[:200]}")
        return None
    return Measured(**json.loads(done.stdout.strip().splitlines()[-1]))


def tell(name: str, who: str, found: Measured, gpu: Gpu | None, beside: float | None) -> None:
    """Print one line, and for ours what the forecast says."""
    case = SECTIONS[name]
    settings = TrainSettings(**found.settings)
    work = workload(settings, shape_of(config_of(case)), found.pair_tokens)
    used = f"MFU {found.tokens_per_second * model_flops(work) / gpu.teraflops / 1e12:5.1%}" if gpu else ""
    ratio = f"{found.tokens_per_second / beside:.2f} x plain TRL" if beside else ""
    fast = f"{found.tokens_per_second:>9,.0f} tokens/s"
    print(f"{name:<12} {who:<10} {fast}  {found.memory:>6.1f} GiB  {used}  {ratio}")
    if who == "ours":
        on = "on" if settings.gradient_checkpointing else "off"
        print(
            f"{'':<12} micro-batch {settings.micro_batch}, checkpointing {on}; wanted: {case.wanted or '-'}"
        )
        if gpu:
            said, room = (
                speed(work, gpu).tokens_per_second,
                memory(workload(settings, work.shape)).allocated / GIB,
            )
            print(f"{'':<12} forecast   {said:>9,.0f} tokens/s  {room:>6.1f} GiB")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("section", nargs="*", help=f"of {', '.join(SECTIONS)}")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--warm", type=int, default=1)
    parser.add_argument("--micro-batch", type=int)
    parser.add_argument("--checkpointing", action=argparse.BooleanOptionalAction)
    parser.add_argument("--child", choices=["ours", "plain TRL"], help=argparse.SUPPRESS)
    parser.add_argument("--changes", type=json.loads, default={}, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.section[0], options.child, options.steps, options.warm, options.changes)
        return
    gpu = gpu_here()
    changes = {"micro_batch": options.micro_batch, "gradient_checkpointing": options.checkpointing}
    changes = {key: value for key, value in changes.items() if value is not None}
    print(f"On {gpu.name if gpu else 'the CPU; there is no GPU here that is known'}")
    for name in options.section or [name for name, case in SECTIONS.items() if case.gpu == bool(gpu)]:
        if SECTIONS[name].gpu and not gpu:
            print(f"{name:<12} needs a GPU; nothing was measured")
            continue
        plain = measure(name, "plain TRL", options, {})
        if plain:
            tell(name, "plain TRL", plain, gpu, None)
        own = measure(name, "ours", options, changes)
        if own:
            tell(name, "ours", own, gpu, plain.tokens_per_second if plain else None)
    left = [name for name, case in SECTIONS.items() if case.gpu and not gpu and name not in options.section]
    if left and not options.section:
        print(f"Left out for want of a GPU: {', '.join(left)}")


if __name__ == "__main__":
    main()
