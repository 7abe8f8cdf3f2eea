"""The trainings of a run before they run: what they will take, and the same for plain TRL."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from hub_tools.errors import BackforthError, DataError
from hub_tools.hub.repository import Ref
from hub_tools.run.graph import Node
from hub_tools.run.inputs import NodeInputs
from hub_tools.run.pinning import Pinned
from hub_tools.run.run import Run, Step
from hub_tools.stages.quality import TokenCounter
from hub_tools.stages.registry import silent
from hub_tools.stages.train import pair_view
from training.errors import TrainingError
from training.settings import TrainSettings
from training.views import Pair

if TYPE_CHECKING:
    from training.devices import Gpu
    from training.fitting import Forecast
    from training.shapes import Shape

SAMPLE = 256  # pairs whose tokens are counted for a forecast


def trainings(run: Run) -> list[Node]:
    """Return the nodes that train a model, in order."""
    return [node for node in run.graph.nodes.values() if isinstance(node.config, TrainSettings)]


def pinned_inputs(
    run: Run, node: Node, published: Mapping[str, Ref], only: str | None = None
) -> dict[str, Ref]:
    """Pin what a training reads, as far as it is published: another repo, or a node among `published`."""
    found = {}
    for name, reading in node.reads.items():
        if only not in (None, name):
            continue
        if reading.node and reading.node in published:
            found[name] = published[reading.node]
        elif reading.repo:
            kind = "model" if reading.kind == "model" else "dataset"
            found[name] = run.hub.pin(reading.repo, kind, reading.revision)  # type: ignore[arg-type]
    return found


def training_pairs(run: Run, node: Node, refs: Mapping[str, Ref]) -> Iterator[Pair]:
    """Yield a training's pairs as its model reads them."""
    inputs = NodeInputs(node, Pinned(refs, [], None, ""), run.graph, run.hub, run.work, silent)
    try:
        view = pair_view(node.stage.name, run.prompts.render)
    except KeyError as error:
        raise BackforthError(f"stages.{node.name}: {node.stage.name} is no training of pairs") from error
    return (view(row) for row in inputs.rows("pairs"))


def pinned_lines(run: Run, refs: Mapping[str, Ref]) -> list[str]:
    """Say at which commits the one training reads what was named without a fixed revision."""
    (node,) = trainings(run)
    revisions = {name: node.reads[name].revision for name in refs}
    return [
        f"{name}: {ref.repo}@{revisions[name] or 'main'} is {ref.repo}@{ref.sha}"
        for name, ref in refs.items()
        if revisions[name] != ref.sha
    ]


def forecast_lines(run: Run, gpu: Gpu | None) -> list[str]:
    """Return the forecast of the one training as a person reads it.

    Raises:
        DataError: there is no GPU to forecast for.
    """
    if gpu is None:
        raise DataError("this machine has no GPU that forecasts know; name one, such as --gpu H100")
    (node,) = trainings(run)
    return forecast_node(run, node, {}, gpu).lines()


def plan_trainings(run: Run, steps: Sequence[Step], gpu: Gpu | None) -> list[str]:
    """Return a passage for each training that would run: what it will take, or why that is not known."""
    published = {step.node.name: step.found for step in steps if step.found}
    open_nodes = [step.node for step in steps if step.found is None and step.node in trainings(run)]
    if not open_nodes:
        return []
    if gpu is None:
        return ["Name a GPU, such as --gpu H100, to see what the trainings would take of memory and time."]
    lines = []
    for node in open_nodes:
        try:
            first, *rest = forecast_node(run, node, published, gpu).lines()
        except DataError as error:
            lines.append(str(error))
        else:
            lines += [f"stages.{node.name}: {first}", *(f"  {line}" for line in rest)]
    return lines


def forecast_node(run: Run, node: Node, published: Mapping[str, Ref], gpu: Gpu) -> Forecast:
    """Forecast one training on that GPU, from its base's config.json and a sample of its pairs.

    Raises:
        DataError: the base is not published yet, or of a kind that cannot be forecast.
    """
    from training.fitting import forecast

    assert isinstance(node.config, TrainSettings)
    refs = pinned_inputs(run, node, published)
    if "base" not in refs:
        raise DataError(f"stages.{node.name}: no forecast before {node.reads['base'].node} is published")
    try:
        return forecast(node.config, _shape(run, node, refs["base"]), gpu, _pair_tokens(run, node, refs))
    except TrainingError as error:
        raise DataError(f"stages.{node.name}: {error}") from error


def gpu_for(name: str | None) -> Gpu | None:
    """Return the GPU of that name, or this machine's; None where it has none that forecasts know.

    Raises:
        DataError: no GPU of that name is known.
    """
    from training.devices import gpu_here, gpu_named

    try:
        return gpu_named(name) if name else gpu_here()
    except TrainingError as error:
        raise DataError(f"--gpu: {error}") from error


def export(run: Run, folder: Path) -> Path:
    """Write the run's one training for plain TRL into `folder`; return the YAML file.

    Raises:
        DataError: the folder holds other things, or the rows are not those of a training.
    """
    from training.export import export_trl
    from training.methods import device

    (node,) = trainings(run)
    assert isinstance(node.config, TrainSettings)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(f"--export-trl {folder}: it is there already; name a new or empty folder")
    refs = pinned_inputs(run, node, {})
    pairs = training_pairs(run, node, refs)
    here = device()
    settings = node.config.resolve(here)
    if not _has_dropout(run, refs["base"]):
        settings = settings.model_copy(update={"attention_dropout": 0.0})
    base = (refs["base"].repo, refs["base"].sha)
    return export_trl(folder, settings, node.name, base, pairs, here)


def _has_dropout(run: Run, base: Ref) -> bool:
    from transformers import AutoConfig

    return hasattr(AutoConfig.from_pretrained(run.hub.fetch(base, ["config.json"])), "attention_dropout")


def _shape(run: Run, node: Node, base: Ref) -> Shape:
    from training.shapes import read_shape

    path = run.hub.file(base, "config.json")
    if path is None:
        raise DataError(f"stages.{node.name}.reads.base: {base.name} has no config.json; is it a model?")
    return read_shape(path.parent)


def _pair_tokens(run: Run, node: Node, refs: Mapping[str, Ref]) -> float | None:
    """Return the mean tokens of the first pairs; None where they, or the tokenizer, are not there yet."""
    path = run.hub.file(refs["base"], "tokenizer.json")
    if "pairs" not in refs or path is None:
        return None
    count = TokenCounter(path.parent)
    pairs = islice(training_pairs(run, node, refs), SAMPLE)
    lengths = [sum(count(message["content"]) for message in [*p.prompt, *p.completion]) for p in pairs]
    return sum(lengths) / len(lengths) if lengths else None
