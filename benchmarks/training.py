"""Measures trainings beside plain TRL's defaults: tokens a second, share of the peak, peak memory.

    python benchmarks/training.py                        # what this machine can: without a GPU, two minutes
    python benchmarks/training.py --rows full qlora      # rows by name, on one GPU
    python benchmarks/training.py --rows full --changes '{"compile_layers": false}'   # other settings

Models have random weights in the shape of the real ones, so nothing is downloaded. Every line is a process
of its own and is printed as soon as it is known; one that fails says why, and the others go on. Where the
`--minutes` are over, the rows that are left are named. The first `--warm` steps are not counted. Tokens are
those of the pairs, without padding. Our settings are those that `train` would choose here for a training of a
thousand steps; beside each of our lines on a GPU stands what the forecast says of it.
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
    """One row: a method on a size; `wanted` tokens a second and at most `room` GiB are to be reached on one
    H100 of 80 GB, or the speed of the row `like` but for 3 %.
    """

    size: str
    settings: dict[str, Any]
    wanted: float = 0.0
    room: float = 80.0
    like: str = ""
    gpu: bool = True
    length: int = 2048
    batch: int = 32
    steps: int = 5
    warm: int = 2


BFLOAT16 = {"method": "full", "weights": "bfloat16"}
QLORA = {"method": "qlora", "lora_dropout": 0.0}
SECTIONS = {
    "cpu-full": Case("small", {"method": "full"}, gpu=False, length=192, batch=8),
    "cpu-lora": Case("small", {"method": "lora"}, gpu=False, length=192, batch=8),
    "cpu-qlora": Case("small", {"method": "qlora"}, gpu=False, length=192, batch=8),
    "full": Case("7B", BFLOAT16, wanted=14_500),
    "full-dropout": Case("7B", BFLOAT16 | {"attention_dropout": 0.1}),  # the paper's, pair by pair
    "full-float8": Case("7B", BFLOAT16 | {"float8": True}, wanted=17_500),
    "full-packed": Case("7B", BFLOAT16 | {"packing": True}, like="full"),
    "qlora": Case("7B", QLORA, wanted=16_000),
    "qlora-dropout": Case("7B", {"method": "qlora"}),  # the paper's 0.1, whose masks take memory and time
    "qlora-12gib": Case("7B", QLORA | {"gpu_memory": 12.0}, wanted=10_500, room=12.0),
    "qlora-70b": Case(
        "70B", QLORA | {"gpu_memory": 60.0}, wanted=1_400, room=60.0, steps=2, warm=1
    ),  # a step takes the better part of a minute
}
LONG = 1000  # steps of the training that the settings are chosen for


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
        **({"attention_dropout": 0.0} | case.settings | changes), steps=LONG, batch_size=case.batch,
        max_length=case.length, save_steps=10**6, save_minutes=10**6,
    )  # fmt: skip
    chosen = choose(settings, shape, gpu) if gpu else settings
    return chosen.resolve("cuda" if gpu else "cpu").model_copy(update={"steps": steps})


def tokenizer() -> Any:
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({"<pad>": 0, "<eos>": 1, "<unk>": 2}, unk_token="<unk>"))
    return PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", eos_token="<eos>")


def random_model(case: Case, dtype: Any, attention: str = "sdpa") -> Any:
    """A model of the case's shape: for qlora its linear layers are made and packed into 4 bits one by one."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(**config_of(case))
    config._attn_implementation = attention
    where = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    if case.settings["method"] != "qlora":
        torch.set_default_dtype(dtype)
        try:
            with torch.device(where):
                return AutoModelForCausalLM.from_config(config, dtype=dtype)
        finally:
            torch.set_default_dtype(torch.float32)
    from random_nf4 import in_four_bits

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=dtype)
    return in_four_bits(model, where, dtype)


def ours(case: Case, settings: TrainSettings, steps: int, folder: Path) -> Iterator[tuple[int, float]]:
    """Train with this project's trainer; yield each step's tokens and seconds."""
    import torch
    from transformers import TrainerCallback

    from training.attention import register
    from training.layout import lay_out
    from training.process import plainly_on_cpu
    from training.trainer import build_trainer
    from training.watch import Run

    examples = examples_of(case, case.batch * steps)
    layout = lay_out([len(example.input_ids) for example in examples], settings)
    told: list[tuple[int, float]] = []
    clock = Clock()

    def on_step(event: Any) -> None:
        told.append((layout.tokens(event.step), clock.lap()))

    class Unsaved(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            control.should_save = False  # after the last step, which would take a minute

    run = Run(settings, examples, layout, folder, on_step)
    trains_in_float32 = settings.method == "full" and settings.weights == "float32"
    on_cpu = not torch.cuda.is_available()
    dtype = torch.float32 if on_cpu or trains_in_float32 else torch.bfloat16
    register()
    trainer = build_trainer(run, random_model(case, dtype, settings.attention or "sdpa"), tokenizer())
    trainer.add_callback(Unsaved())
    run.start(trainer, None)
    clock.lap()
    with plainly_on_cpu(bool(settings.compile_layers)):
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

    print_json = sys.stdout
    sys.stdout = sys.stderr  # what libraries print is no result
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
    print(json.dumps(asdict(found)), file=print_json)


def measure(name: str, who: str, options: argparse.Namespace, until: float) -> Measured | None:
    """Run one line in a process of its own; None, with its last words, where it fails."""
    case = SECTIONS[name]
    steps, warm = options.steps or case.steps, case.warm if options.warm is None else options.warm
    changes = options.changes if who == "ours" else {}
    command = [sys.executable, "-W", "ignore", __file__, "--rows", name, "--child", who, "--steps",
               str(steps), "--warm", str(warm), "--changes", json.dumps(changes)]  # fmt: skip
    # as `training.sft.train` has it
    own = {"OMP_WAIT_POLICY": "PASSIVE", "PYTORCH_ALLOC_CONF": "expandable_segments:True"}
    environ = {**os.environ, **(own if who == "ours" else {})}
    left = max(1.0, until - time.monotonic())
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environ, timeout=left)
    except subprocess.TimeoutExpired:
        print(f"{name:<12} {who:<10} stopped: the {options.minutes:g} minutes are over", flush=True)
        return None
    if done.returncode:
        told = [line.strip() for line in done.stderr.splitlines() if line.strip()] or ["no word"]
        why = [line for line in told if "Error" in line.split(":")[0]] or told
        print(f"{name:<12} {who:<10} failed ({done.returncode}): {why[-1][:300]}", flush=True)
        return None
    return Measured(**json.loads(done.stdout.strip().splitlines()[-1]))


def verdict(case: Case, found: Measured, speeds: dict[str, float]) -> str:
    wanted = case.wanted or 0.97 * speeds.get(case.like, 0.0)
    if not wanted:
        return f"wanted: within 3 % of {case.like}, which was not measured" if case.like else "wanted: -"
    reached = found.tokens_per_second >= wanted and found.memory <= case.room
    room = f" in {case.room:.0f} GiB" if case.room < 80 else ""
    return f"wanted: {wanted:,.0f} tokens/s{room}: {'reached' if reached else 'missed'}"


def tell(name: str, found: Measured, gpu: Gpu | None, speeds: dict[str, float]) -> None:
    """Print what we reached, how, and on a GPU what the forecast says."""
    case, settings = SECTIONS[name], TrainSettings(**found.settings)
    work = workload(settings, shape_of(config_of(case)), found.pair_tokens)
    used = f"MFU {found.tokens_per_second * model_flops(work) / gpu.teraflops / 1e12:5.1%}" if gpu else ""
    print(f"{name:<12} ours       {figures(found)}  {used}")
    named = ("micro_batch", "gradient_checkpointing", "checkpointed_layers", "offload_activations")
    chosen = {key: getattr(settings, key) for key in (*named, "compile_layers", "attention")}
    print(f"{'':<12} {', '.join(f'{key} {value}' for key, value in chosen.items())}", flush=True)
    if gpu:
        said, room = speed(work, gpu).tokens_per_second, memory(workload(settings, work.shape)).allocated
        print(f"{'':<12} forecast   {said:>9,.0f} tokens/s  {room / GIB:>6.1f} GiB")
        print(f"{'':<12} {verdict(case, found, speeds)}", flush=True)


def tell_plain(name: str, found: Measured, own: Measured | None) -> None:
    ratio = f"ours is {own.tokens_per_second / found.tokens_per_second:.2f} x that" if own else ""
    print(f"{name:<12} plain TRL  {figures(found)}  {ratio}", flush=True)


def figures(found: Measured) -> str:
    return f"{found.tokens_per_second:>9,.0f} tokens/s  {found.memory:>6.1f} GiB"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", nargs="+", choices=list(SECTIONS), metavar="ROW", default=[],
                        help=f"of {', '.join(SECTIONS)}")  # fmt: skip
    parser.add_argument("--steps", type=int, help="of each line, those of --warm among them")
    parser.add_argument("--warm", type=int, help="first steps that are not counted")
    parser.add_argument("--minutes", type=float, default=9.0, help="for all rows together")
    parser.add_argument("--changes", type=json.loads, default={}, help="settings of ours, as JSON")
    parser.add_argument("--child", choices=["ours", "plain TRL"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.rows[0], options.child, options.steps, options.warm, options.changes)
        return
    gpu = gpu_here()
    until = time.monotonic() + 60 * options.minutes
    print(f"On {gpu.name if gpu else 'the CPU; there is no GPU here that is known'}", flush=True)
    rows = options.rows or [name for name, case in SECTIONS.items() if case.gpu == bool(gpu)]
    plain: dict[tuple[str, str, bool], Measured | None] = {}
    speeds: dict[str, float] = {}
    for name in rows:
        case = SECTIONS[name]
        if case.gpu and not gpu:
            print(f"{name:<12} needs a GPU; nothing was measured", flush=True)
        elif time.monotonic() > until:
            print(f"{name:<12} left out: the {options.minutes:g} minutes are over", flush=True)
        else:
            own = measure(name, "ours", options, until)
            if own:
                speeds[name] = own.tokens_per_second
                tell(name, own, gpu, speeds)
            alike = (case.size, case.settings["method"], bool(case.settings.get("packing")))
            if alike not in plain:
                plain[alike] = measure(name, "plain TRL", options, until)
            if found := plain[alike]:
                tell_plain(name, found, own)
    left = [name for name, case in SECTIONS.items() if case.gpu and not gpu and name not in rows]
    if left:
        print(f"Left out for want of a GPU: {', '.join(left)}", flush=True)


if __name__ == "__main__":
    main()
