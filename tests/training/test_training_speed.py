"""What makes trainings fast, shown where it can be shown without a GPU: that it changes no result."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from pydantic import ValidationError
from training_samples import make_model, make_pairs, make_tokenizer, quick

from training import compiled, launch, methods, needs, trainer
from training.encode import encode_pairs
from training.errors import TrainingError
from training.layout import lay_out
from training.publish import Base
from training.settings import TrainSettings
from training.sft import Job, Trained, fitted, train

STILL = {"attention_dropout": 0.0, "lora_dropout": 0.0}
WATCHED = {"held_out": 2, "eval_steps": 2, "samples": 1, "sample_tokens": 4}


def assert_alike(one: Trained, other: Trained) -> None:
    for (_, some), (_, others) in zip(one.losses + one.held_out, other.losses + other.held_out, strict=True):
        assert some == pytest.approx(others, rel=1e-4)


@pytest.mark.parametrize("packing", [False, True])
def test_attention_pair_by_pair_computes_what_masks_and_padding_compute(
    base: Base, tmp_path: Path, packing: bool
):
    one, other = (
        train(
            quick("lora", packing=packing, attention=attention, micro_batch=2, **STILL, **WATCHED),
            make_pairs(12),
            base,
            tmp_path / attention,
        )
        for attention in ("sdpa", "varlen")
    )
    assert_alike(one, other)
    assert [sample.answer for sample in one.samples] == [sample.answer for sample in other.samples]


def test_layers_that_a_training_swaps_are_put_back_after_it(
    base: Base, work: Path, monkeypatch: pytest.MonkeyPatch
):
    import transformers.trainer
    from transformers.models.llama import modeling_llama

    own = modeling_llama.LlamaRMSNorm, modeling_llama.apply_rotary_pos_emb
    swapped = []

    def swap(model: torch.nn.Module, _: object) -> None:
        monkeypatch.setattr(modeling_llama, "LlamaRMSNorm", torch.nn.RMSNorm)
        rotate = modeling_llama.apply_rotary_pos_emb
        modeling_llama.apply_rotary_pos_emb = lambda *args: swapped.append(1) or rotate(*args)

    arguments = trainer.trainer_arguments
    monkeypatch.setattr(
        trainer, "trainer_arguments", lambda run: replace(arguments(run), use_liger_kernel=True)
    )
    monkeypatch.setattr(transformers.trainer, "apply_liger_kernel", swap)
    train(quick("lora"), make_pairs(12), base, work)
    assert swapped
    assert (modeling_llama.LlamaRMSNorm, modeling_llama.apply_rotary_pos_emb) == own


def test_dropout_on_attention_works_pair_by_pair(base: Base, tmp_path: Path):
    dropped, still = (
        train(
            quick("full", packing=True, attention="varlen", attention_dropout=share),
            make_pairs(12),
            base,
            tmp_path / str(share),
        )
        for share in (0.5, 0.0)
    )
    assert dropped.losses[0] != pytest.approx(still.losses[0])
    assert dropped.losses[-1][1] < dropped.losses[0][1]


@pytest.mark.parametrize("heads", [4, 2])
def test_one_kernel_takes_what_autocast_computes_in(monkeypatch: pytest.MonkeyPatch, heads: int):
    from training import attention

    taken = []

    def kernel(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *_: object, **options: object):
        taken.append({part.dtype for part in (query, key, value)})
        return query

    monkeypatch.setattr(attention, "varlen_attn", kernel)
    monkeypatch.setattr(attention, "_in_one_kernel", lambda query, value, dropout: True)
    query, key, value = (torch.rand(1, count, 6, 8) for count in (4, heads, heads))
    bounds = torch.tensor([0, 4, 6], dtype=torch.int32)
    with torch.autocast("cpu", torch.bfloat16):  # float32 after the rotation, beside float32 weights
        attention.varlen_attention(
            None, query, key, value.bfloat16(), None, scaling=0.3, cu_seq_lens_q=bounds, max_length_q=4
        )
    assert taken == [{torch.bfloat16}]


def test_padding_is_attended_to_in_one_go():
    from training.attention import _spans

    ends = torch.tensor([0, 10, 20, 21, 22, 23], dtype=torch.int32)  # the collator's: a pair a padded token
    assert _spans(ends) == [(0, 10), (10, 20), (20, 23)]
    assert _spans(ends[:3]) == [(0, 10), (10, 20)]


def test_attention_follows_the_device_the_packing_and_the_base(base: Base, tmp_path: Path):
    assert TrainSettings().resolve("cpu").attention == "sdpa"
    assert TrainSettings(packing=True).resolve("cpu").attention == "varlen"
    assert TrainSettings().resolve("cuda").attention == "varlen"
    config = json.loads((base.path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"sliding_window": 64}))
    windowed = Base(tmp_path, "demo/windowed", "0" * 40)
    assert fitted(TrainSettings(packing=True), windowed).attention == "sdpa"
    with pytest.raises(TrainingError, match="attention is varlen, which a base with windows"):
        methods.load_base(tmp_path, TrainSettings(attention="varlen"))


@pytest.mark.slow
def test_compiled_layers_compute_what_plain_ones_compute(
    base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(compiled, "BACKEND", "aot_eager")  # all of it but the code for the device
    torch._dynamo.reset()
    settings = quick("full", packing=True, **STILL, **WATCHED)
    plain = train(settings, make_pairs(12), base, tmp_path / "plain")
    before = torch._dynamo.utils.counters["frames"]["ok"]
    notes: list[str] = []
    fast = train(
        settings.model_copy(update={"compile_layers": True}),
        make_pairs(12),
        base,
        tmp_path / "fast",
        on_note=notes.append,
    )
    assert_alike(plain, fast)
    assert torch._dynamo.utils.counters["frames"]["ok"] > before
    assert not any("compiled" in note for note in notes)


def test_layers_that_cannot_be_compiled_are_trained_without(
    base: Base, work: Path, monkeypatch: pytest.MonkeyPatch
):
    def broken(graph: object, inputs: object) -> None:
        raise RuntimeError("no assembler\nanywhere")

    monkeypatch.setattr(compiled, "BACKEND", broken)
    torch._dynamo.reset()
    notes: list[str] = []
    trained = train(quick("lora", compile_layers=True), make_pairs(12), base, work, on_note=notes.append)
    assert len(trained.losses) == 4
    (note,) = notes
    assert note.startswith("torch cannot compile here (BackendCompilerFailed: ")
    assert "no assembler anywhere" in note
    assert note.endswith("; layers stay as they are, slower")
    assert "\n" not in note


class Counting:
    """A compiler that leaves all as it is and counts what it is given."""

    def __init__(self) -> None:
        self.graphs = 0

    def __call__(self, graph: torch.fx.GraphModule, inputs: object) -> object:
        self.graphs += 1
        return graph.forward


def test_layers_that_compute_again_are_compiled_but_for_what_cannot_be(
    base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    compiler = Counting()
    monkeypatch.setattr(compiled, "BACKEND", compiler)
    torch._dynamo.reset()
    settings = quick(
        "full", steps=2, packing=True, attention_dropout=0.2, gradient_checkpointing=True, compile_layers=True
    )
    fast = train(settings, make_pairs(12), base, tmp_path / "fast")
    assert compiler.graphs > 0  # attention pair by pair is none of them
    plain = settings.model_copy(update={"compile_layers": False})
    assert_alike(train(plain, make_pairs(12), base, tmp_path / "plain"), fast)


def test_a_layer_is_compiled_in_one_piece_where_gradients_are_sent(monkeypatch: pytest.MonkeyPatch):
    from torch._dynamo.backends.distributed import DDPOptimizer
    from torch.nn.parallel import DistributedDataParallel

    compiler = Counting()
    monkeypatch.setattr(compiled, "BACKEND", compiler)
    monkeypatch.setattr(
        DistributedDataParallel, "_active_ddp_module", SimpleNamespace(bucket_bytes_cap=2**20)
    )
    monkeypatch.setattr(DDPOptimizer, "compile_fn", lambda *_: pytest.fail("the layer is cut"))
    torch._dynamo.reset()
    model = make_model()
    compiled.compile_layers(model)
    ids = torch.randint(3, 400, (2, 16))
    model(input_ids=ids, labels=ids).loss.backward()
    assert compiler.graphs > 0


def test_some_layers_alone_compute_their_activations_again(base: Base, tmp_path: Path):
    from training.trainer import build_trainer
    from training.watch import Run

    settings = quick("full", steps=1, gradient_checkpointing=True, checkpointed_layers=1).resolve("cpu")
    tokenizer = make_tokenizer()
    examples = encode_pairs(tokenizer, make_pairs(12), 128).examples
    layout = lay_out([len(example.input_ids) for example in examples], settings)
    run = Run(settings, examples, layout, tmp_path)
    trainer = build_trainer(run, methods.load_base(base.path, settings), tokenizer)
    run.start(trainer, None)
    trainer.train()
    assert [layer.gradient_checkpointing for layer in compiled.decoder_layers(trainer.model)] == [True, False]


def test_float8_takes_the_layers_products_and_leaves_weights_and_head():
    torch.manual_seed(0)
    ids = torch.randint(3, 400, (2, 16))
    model = make_model().float()
    exact = model(input_ids=ids, labels=ids).loss.item()
    names = list(model.state_dict())
    compiled.to_float8(model, emulate=True)
    kinds = {name: type(module).__name__ for name, module in model.named_modules()}
    assert kinds["lm_head"] == "Linear"
    assert kinds["model.layers.1.mlp.down_proj"] == "Float8Linear"
    assert list(model.state_dict()) == names
    loss = model(input_ids=ids, labels=ids).loss
    loss.backward()
    assert loss.item() != exact
    assert loss.item() == pytest.approx(exact, rel=0.01)
    assert model.model.layers[0].mlp.up_proj.weight.grad is not None


def test_float8_is_refused_where_it_cannot_run(base: Base, work: Path):
    with pytest.raises(ValidationError, match="float8 is on, but method lora trains adapters"):
        TrainSettings(method="lora", float8=True)
    with pytest.raises(TrainingError, match=r"float8 is on, which needs a GPU of compute capability 8\.9"):
        train(quick("full", float8=True), make_pairs(12), base, work)


def test_adapters_take_what_autocast_computes_in_without_a_copy(monkeypatch: pytest.MonkeyPatch):
    from peft import LoraConfig, get_peft_model

    model = get_peft_model(make_model(), LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM"))
    monkeypatch.setattr(methods, "device", lambda: "cuda")
    methods.float32_adapters(model)
    seen = []
    adapter = model.get_submodule("base_model.model.model.layers.0.mlp.down_proj.lora_A.default")
    adapter.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].dtype))
    with torch.autocast("cpu", torch.bfloat16):
        model(input_ids=torch.tensor([[5, 6, 7]]))
    assert adapter.weight.dtype == torch.float32
    assert seen == [torch.bfloat16]


def test_processes_get_every_setting_those_in_no_fingerprint_too(base: Base, tmp_path: Path):
    settings = quick("full", processes=2, sharding="fsdp2", tracker="trackio", gpu_memory=12.0)
    launch.write(Job(settings, make_pairs(2), base, tmp_path / "work"), tmp_path / "job")
    assert launch.read(tmp_path / "job", 2).settings == settings


def test_one_process_takes_one_gpu_of_several(base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from training.trainer import trainer_arguments
    from training.watch import Run

    monkeypatch.setattr(methods, "device", lambda: "cuda")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 8)
    monkeypatch.setattr("transformers.training_args.is_torch_bf16_gpu_available", lambda: True)
    settings = quick("lora").resolve("cuda")
    run = Run(settings, [], lay_out([8] * 4, settings), tmp_path)
    assert trainer_arguments(run).n_gpu == 1  # TRL refuses more: they would be one model's, by DataParallel


def test_an_optimizer_that_cannot_be_compiled_ends_the_training(
    base: Base, work: Path, monkeypatch: pytest.MonkeyPatch
):
    from torch._inductor.exc import InvalidCxxCompiler
    from torchao.optim import AdamW8bit

    def step(self: AdamW8bit, closure: object = None) -> None:
        raise InvalidCxxCompiler

    monkeypatch.setattr(AdamW8bit, "step", step)
    with pytest.raises(
        TrainingError, match=r"torch cannot compile here .*; set weights to float32"
    ) as caught:
        train(quick("full", weights="bfloat16"), make_pairs(12), base, work)
    assert "\n" not in str(caught.value)


def test_a_gpu_without_a_compiler_is_told_before_the_base_is_fetched(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(methods, "device", lambda: "cuda")
    monkeypatch.setattr(needs, "installed", lambda package: True)
    needs.check_needs(TrainSettings())
    monkeypatch.setenv("PATH", "")
    with pytest.raises(TrainingError, match="which needs a C compiler and Python's headers"):
        needs.check_needs(TrainSettings())
