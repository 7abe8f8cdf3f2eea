"""What a training from the command line is checked for before anything is downloaded or trained."""

from __future__ import annotations

from collections.abc import Mapping

from hub_tools.errors import BackforthError, DataError, HubError
from hub_tools.hub.repository import Ref
from hub_tools.run.bases import check_access, check_base
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
        except HubError as error:
            raise HubError(f"{OPTIONS[name]}: {error}") from error
        check_access(run.hub, found, OPTIONS[name])
        refs[name] = found
    assert isinstance(node.config, TrainSettings)
    check_base(run.hub, node.config, refs["base"], OPTIONS["base"])
    _check_rows(run, node, refs)
    return refs


def _check_rows(run: Run, node: Node, refs: Mapping[str, Ref]) -> None:
    """Read the first row, which tells whether the dataset has the columns."""
    try:
        first = next(training_pairs(run, node, refs), None)
    except BackforthError as error:
        needed = READS.get(node.stage.name, SEEDS)
        raise DataError(f"--dataset: {error}; {node.stage.name} reads {needed}") from error
    if first is None:
        raise DataError(f"--dataset: {refs['pairs'].name} has no rows")
