"""Measures the embedded endpoint beside a bare torch loop over the same model, at 8 and 32 requests at once.

    python benchmarks/endpoint.py                     # two rounds, about six minutes on two idle cores
    python benchmarks/endpoint.py --rounds 1 --at-once 8
    python benchmarks/endpoint.py --shape 7B          # on a GPU: tokens a second of wall time

The weights are random, in the shape of a real model, so nothing is downloaded, and no answer ends before its
length. The loop reads all prompts as one batch and decodes them together with transformers' own cache: no
HTTP, no tokenizer, nobody who comes or goes. Lines alternate, each a process of its own on one thread; the
CPU-seconds are those that the process spent from the first request to the last answer.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean
from typing import Any
from urllib.request import Request, urlopen

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

SHAPES = {
    "135M": {
        "vocab_size": 49152, "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30,
        "num_attention_heads": 9, "num_key_value_heads": 3, "tie_word_embeddings": True,
    },  # SmolLM2's
    "7B": {
        "vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
        "num_attention_heads": 32, "num_key_value_heads": 32,
    },  # Llama 2's
}  # fmt: skip
READY = "export TGI_ENDPOINT="


@dataclass(frozen=True)
class Load:
    """Requests that are there at once, each with as long a prompt and as long an answer."""

    requests: int
    prompt: int
    answer: int


def write_model(folder: Path, shape: str, device: str) -> None:
    """Write a model with random weights, and a tokenizer whose tokens are the bytes and that has no end."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(models.BPE(vocab={sign: place for place, sign in enumerate(alphabet)}, merges=[]))
    core.pre_tokenizer, core.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=core).save_pretrained(folder)
    ends = {"bos_token_id": None, "eos_token_id": None}
    config = LlamaConfig(max_position_embeddings=4096, **ends, **SHAPES[shape])
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16 if device == "cuda" else torch.float32)
    with torch.device(device):
        LlamaForCausalLM(config).save_pretrained(folder)


def bare(folder: Path, load: Load, device: str) -> float:
    """Return the seconds (of CPU, or of wall time on a GPU) that the bare loop takes."""
    import torch
    from transformers import AutoModelForCausalLM, DynamicCache

    torch.set_num_threads(1)
    network = AutoModelForCausalLM.from_pretrained(folder, dtype="auto").eval().to(device)
    prompts = torch.randint(256, (load.requests, load.prompt), device=device)

    def generate(ids: torch.Tensor, tokens: int) -> None:
        cache = DynamicCache()
        for _ in range(tokens):
            logits = network(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1).logits
            ids = logits[:, -1].argmax(-1, keepdim=True)
        ids.tolist()  # waits for a GPU

    clock = time.process_time if device == "cpu" else time.perf_counter
    with torch.inference_mode():
        generate(prompts[:1], 2)
        started = clock()
        generate(prompts, load.answer)
        return clock() - started


@contextmanager
def server(folder: Path, load: Load) -> Iterator[tuple[str, int]]:
    """Run the endpoint with room for all of the load; its address and process id."""
    flags = {"model": folder, "model-id": "random/weights", "port": 0, "threads": 1}
    flags["max-batch-size"] = load.requests
    command = [sys.executable, "-m", "hub_tools.endpoints.server"]
    command += [f"--{name}={value}" for name, value in flags.items()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().removeprefix(READY).strip(), process.pid
        finally:
            process.terminate()


def served(folder: Path, load: Load, device: str) -> float:
    """Return the seconds that the endpoint takes for all answers."""

    def ask(url: str, number: int, tokens: int) -> int:
        text = f"{number:0{load.prompt}d}"
        body = {"inputs": text, "parameters": {"max_new_tokens": tokens}}
        request = Request(f"{url}/generate", json.dumps(body).encode(), {"Content-Type": "application/json"})
        with urlopen(request) as answer:
            return int(answer.headers["x-generated-tokens"])

    with server(folder, load) as (url, process), ThreadPoolExecutor(load.requests) as pool:
        ask(url, 0, 2)
        started = cpu_seconds(process) if device == "cpu" else time.perf_counter()
        made = list(pool.map(lambda number: ask(url, number, load.answer), range(load.requests)))
        assert made == [load.answer] * load.requests, made
        return (cpu_seconds(process) if device == "cpu" else time.perf_counter()) - started


def cpu_seconds(process: int) -> float:
    """Return what a process has spent on all cores so far."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def in_child(what: str, folder: Path, load: Load, device: str) -> float:
    """Run `bare` or `served` in a process of its own."""
    question = json.dumps({"what": what, "folder": str(folder), "load": asdict(load), "device": device})
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, __file__, "--child", question], env=environment, stdout=subprocess.PIPE, check=True
    )
    return float(done.stdout.splitlines()[-1])


def measure(shape: str, loads: list[Load], rounds: int) -> None:
    """Print a line for each load and client, and what share of the loop's speed the endpoint keeps."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    unit = "tokens/CPU-s" if device == "cpu" else "tokens/s"
    print(f"{shape} on {device}: {'at once':>8} {'client':>9} {unit:>13}  {'each round':<24} load")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_model(folder, shape, device)
        for load in loads:
            speeds: dict[str, list[float]] = {"bare": [], "served": []}
            for _ in range(rounds):
                for client, found in speeds.items():
                    seconds = in_child(client, folder, load, device)
                    found.append(load.requests * load.answer / seconds)
            for client, found in speeds.items():
                each = " ".join(f"{speed:.1f}" for speed in found)
                print(
                    f"{'':{len(shape) + len(device) + 4}} {load.requests:>9} {client:>9} {mean(found):>13.1f}"
                    f"  {each:<24} {os.getloadavg()[0]:.1f}",
                    flush=True,
                )
            share = mean(speeds["served"]) / mean(speeds["bare"])
            print(f"The endpoint keeps {share:.0%} of the loop's speed at {load.requests}.", flush=True)


def _child(question: str) -> None:
    given: dict[str, Any] = json.loads(question)
    run = bare if given["what"] == "bare" else served
    print(run(Path(given["folder"]), Load(**given["load"]), given["device"]))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shape", choices=SHAPES, default="135M")
    parser.add_argument("--at-once", type=int, nargs="+", default=[8, 32])
    parser.add_argument("--prompt", type=int, default=300, help="tokens of a prompt")
    parser.add_argument("--answer", type=int, default=64, help="tokens of an answer")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        _child(asked.child)
    else:
        every = [Load(requests, asked.prompt, asked.answer) for requests in asked.at_once]
        measure(asked.shape, every, asked.rounds)
