"""What a training from the command line is checked for before anything is downloaded or trained."""

from __future__ import annotations

import json
from collections.abc import Mapping

from hub_tools.errors import BackforthError, DataError, HubError
from hub_tools.hub.repository import Ref
from hub_tools.run.graph import Node
from hub_tools.run.run import Run
from hub_tools.run.trainings import pinned_inputs, training_pairs, trainings
from training.settings import TrainSettings

OPTIONS = {"base": "--base", "pairs": "--dataset"}
READS = {"train-final": "the rows that the stage mix publishes"}
SEEDS = "the rows that the stage seed publishes"


def check_training(run: Run) -> dict[str, Ref]:
    """Check base and dataset of the one training that a run has; return them at their commits.

    Raises:
        BackforthError: one of them is not there, is gated, or does not fit the training; one line names the
        option and the way out.
    """
    (node,) = trainings(run)
    refs: dict[str, Ref] = {}
    for name in node.reads:
        try:
            found = pinned_inputs(run, node, {}, only=name)[name]
            run.hub.call(
                f"{found.kind} {found.repo}",
                lambda found=found: run.hub.api.auth_check(found.repo, repo_type=found.kind),  # type: ignore[misc]
            )
        except HubError as error:
            raise HubError(f"{OPTIONS[name]}: {error}") from error
        refs[name] = found
    _check_base(run, node, refs["base"])
    _check_rows(run, node, refs)
    return refs


def _check_base(run: Run, node: Node, base: Ref) -> None:
    """Refuse what is no whole model, and pairs longer than the base's positions."""
    assert isinstance(node.config, TrainSettings)
    path = run.hub.file(base, "config.json")
    if path is None:
        adapter = run.hub.read_json(base, "adapter_config.json")
        if adapter is None:
            raise DataError(f"--base: {base.name} has no config.json; name the repo of a transformers model")
        raise DataError(
            f"--base: {base.name} is an adapter of {adapter.get('base_model_name_or_path')}; name that, or "
            f"the model with the adapter merged in"
        )
    try:
        positions = json.loads(path.read_text(encoding="utf-8")).get("max_position_embeddings")
    except (ValueError, AttributeError) as error:
        raise DataError(f"--base: config.json of {base.name} is no JSON object: {error}") from error
    longest = node.config.max_length
    if isinstance(positions, int) and longest > positions:
        raise DataError(
            f"max_length is {longest}, but {base.repo} has positions for {positions} tokens; set max_length "
            f"to {positions} or less (longer pairs are cut, and counted)"
        )
    _check_files(run, node.config, base)


def _check_files(run: Run, config: TrainSettings, base: Ref) -> None:
    """Refuse a base without safetensors, without a tokenizer, or without any chat template."""
    names = run.hub.names(base)
    if not any(name.endswith(".safetensors") for name in names):
        raise DataError(
            f"--base: {base.name} has no weights in safetensors, and pickled ones can run code; name a repo "
            "that has, or save it anew with save_pretrained"
        )
    if not {"tokenizer.json", "tokenizer.model", "vocab.json"} & set(names):
        raise DataError(
            f"--base: {base.name} has no tokenizer; copy that of the model it was made from there"
        )
    if config.chat_template is not None or "chat_template.jinja" in names:
        return
    tokenizer = run.hub.read_json(base, "tokenizer_config.json") or {}
    if not tokenizer.get("chat_template"):
        raise DataError(
            f"--base: {base.name} has no chat template; set chat_template, with CONFIG= or --config: that of "
            "Llama-2 is in training/configs/paper-7b-qlora.yaml"
        )


def _check_rows(run: Run, node: Node, refs: Mapping[str, Ref]) -> None:
    """Read the first row, which tells whether the dataset has the columns."""
    try:
        first = next(training_pairs(run, node, refs), None)
    except BackforthError as error:
        needed = READS.get(node.stage.name, SEEDS)
        raise DataError(f"--dataset: {error}; {node.stage.name} reads {needed}") from error
    if first is None:
        raise DataError(f"--dataset: {refs['pairs'].name} has no rows")
