"""The verbs that run things: `run`, `plan`, `stages`, `train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from hub_tools.cli.app import MAKE, RecipeArgument, SetOption, app, console

GpuOption = Annotated[
    str | None, typer.Option(help="GPU to forecast trainings for, such as H100; this machine's by default.")
]


@app.command(rich_help_panel=MAKE)
def run(
    recipe: RecipeArgument,
    only: Annotated[
        str | None, typer.Option(help="Run this node alone; what it reads must be published.")
    ] = None,
    overrides: SetOption = None,
    executor: Annotated[
        str | None,
        typer.Option(help="Ask models in tasks: `local`, `slurm`, `ray` or `jobs` (Hugging Face Jobs)."),
    ] = None,
    tasks: Annotated[
        int | None, typer.Option(help="Into how many tasks a stage's rows are split; lost ones run again.")
    ] = None,
    workers: Annotated[int | None, typer.Option(help="How many tasks run at once.")] = None,
    shared: Annotated[
        str | None,
        typer.Option(
            help="Folder that all machines see: a path, or an address such as hf:// or s3://; the recipe's "
            "`work` by default."
        ),
    ] = None,
    executor_settings: Annotated[
        Optional[list[str]],  # noqa: UP045  (typer reads it)
        typer.Option(
            "--executor-set",
            help="Setting of datatrove's executor, such as `partition=main`; may be repeated.",
        ),
    ] = None,
) -> None:
    """Run a recipe: every node whose fingerprint is not published yet, in order.

    Nothing is lost when it is stopped or killed: run it again and it goes on. A node that is up to date does
    not run.
    """
    from hub_tools.errors import RecipeError
    from hub_tools.recipe import load
    from hub_tools.run.executors.scale import Scale
    from hub_tools.run.run import Run
    from hub_tools.run.summary import print_next, print_outcomes

    scale = None
    if executor:
        scale = Scale.parse(executor, tasks, workers, shared, executor_settings or [])
    elif tasks or workers or shared or executor_settings:
        raise RecipeError("--tasks, --workers, --shared and --executor-set go with --executor")
    bound = Run(load(recipe, overrides or []))
    outcomes = list(bound.run(only, scale))
    out = console()
    if all(outcome.state == "up to date" for outcome in outcomes):
        out.print("Everything is up to date: every fingerprint is on the Hub, and nothing ran.")
    print_outcomes(out, bound.hub, outcomes)
    print_next(out, bound.recipe, bound.hub, outcomes)


@app.command(rich_help_panel=MAKE)
def plan(
    recipe: RecipeArgument,
    pilot: Annotated[
        int,
        typer.Option(
            min=0, help="Ask the endpoints about so many rows of each stage; forecast tokens, hours and cost."
        ),
    ] = 0,
    overrides: SetOption = None,
    gpu: GpuOption = None,
) -> None:
    """Show what `run` would do: which nodes are up to date and which would run, with their fingerprints.

    For every training it forecasts memory and time, on this machine's GPU or the one that `--gpu` names. With
    `--pilot 50` it forecasts what the stages take that ask a model; the run uses the pilot's answers.
    """
    from hub_tools.cli.show.forecast import print_forecast
    from hub_tools.recipe import load
    from hub_tools.run.pilot import pilot_forecast
    from hub_tools.run.run import Run
    from hub_tools.run.summary import print_plan
    from hub_tools.run.trainings import gpu_for, plan_trainings

    bound = Run(load(recipe, overrides or []))
    on = gpu_for(gpu)
    steps = list(bound.plan())
    out = console()
    print_plan(out, steps)
    for line in plan_trainings(bound, steps, on):
        out.print(line, highlight=False, markup=False, soft_wrap=True)
    if pilot:
        print_forecast(out, *pilot_forecast(bound, steps, pilot))


@app.command(rich_help_panel=MAKE)
def stages(
    name: Annotated[str | None, typer.Argument(help="A stage; all of them without one.")] = None,
) -> None:
    """List the stages that a recipe may use, or explain every setting of one."""
    from hub_tools.run.summary import print_settings, print_stages
    from hub_tools.stages.registry import get_stage, known_stages

    out = console()
    if name is None:
        print_stages(out, known_stages())
    else:
        print_settings(out, get_stage(name, "backforth stages"))


@app.command(rich_help_panel=MAKE)
def train(
    role: Annotated[str, typer.Argument(help="backward, forward or final.")],
    base: Annotated[str, typer.Option(help="The base model: ns/name@revision.")],
    dataset: Annotated[
        str, typer.Option(help="Seed pairs (backward, forward) or a mix (final): ns/name@revision.")
    ],
    method: Annotated[
        str | None, typer.Option(help="full, lora or qlora; the settings file's by default, or qlora.")
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(help="YAML file with the training's settings, such as one of training/configs."),
    ] = None,
    overrides: Annotated[
        Optional[list[str]],  # noqa: UP045  (typer reads it)
        typer.Option(
            "--set",
            help="Change one setting, such as `steps=600`; may be repeated. `backforth stages train-final` "
            "explains them all.",
        ),
    ] = None,
    namespace: Annotated[
        str | None, typer.Option(help="Who owns the published model; the dataset's owner by default.")
    ] = None,
    name: Annotated[str, typer.Option(help="First part of the published model's name.")] = "backforth",
    forecast: Annotated[
        bool, typer.Option("--forecast", help="Say what it would take of memory and time, and stop.")
    ] = False,
    gpu: GpuOption = None,
    export_trl: Annotated[
        Path | None,
        typer.Option(help="Write the same training for plain `trl sft` into this new folder, and stop."),
    ] = None,
) -> None:
    """Train one model on a published dataset and publish it, outside any recipe.

    The Hub is the one of HF_ENDPOINT and HF_TOKEN, as for every program of the Hugging Face ecosystem. A base
    or dataset without a revision is taken as it is now, and the revision is printed. Stopped or killed, the
    same command goes on from its last checkpoint. `--set processes=8` trains on 8 GPUs, and
    `sbatch training/accelerate/slurm.sh backforth train ...` on those of several machines.

    For example: `backforth train final --base ns/base@v1 --dataset ns/name-mix@v2 --method lora --set
    steps=600 --set held_out=0.05`
    """
    from hub_tools.run.preflight import check_training
    from hub_tools.run.run import Run
    from hub_tools.run.single import training_recipe
    from hub_tools.run.summary import print_next, print_outcomes
    from hub_tools.run.trainings import export, forecast_lines, gpu_for, pinned_lines

    recipe = training_recipe(role, base, dataset, method, config, overrides or [], namespace, name)
    bound = Run(recipe)
    out = console()
    for line in pinned_lines(bound, check_training(bound)):
        out.print(line, highlight=False, markup=False, soft_wrap=True)
    if forecast or export_trl:
        if forecast:
            for line in forecast_lines(bound, gpu_for(gpu)):
                out.print(line, highlight=False, markup=False, soft_wrap=True)
        if export_trl:
            path = export(bound, export_trl)
            out.print(f"Wrote {path}; its first lines say how to run it.", highlight=False, markup=False)
        return
    outcomes = list(bound.run())
    print_outcomes(out, bound.hub, outcomes)
    print_next(out, bound.recipe, bound.hub, outcomes)


@app.command("publish-model", rich_help_panel=MAKE)
def publish_model(
    folder: Annotated[Path, typer.Argument(help="Folder of one model or LoRA adapter, in safetensors.")],
    repo: Annotated[str, typer.Option(help="Where it is published: ns/name.")],
    base: Annotated[str, typer.Option(help="The model that it was trained from: ns/name@revision.")],
    dataset: Annotated[
        str | None, typer.Option(help="The dataset that it was trained on: ns/name@revision.")
    ] = None,
    license_: Annotated[
        str | None, typer.Option("--license", help="Its own licence; its base's goes with it in any case.")
    ] = None,
) -> None:
    """Publish a model that was trained elsewhere: checked, with card, provenance and licence.

    Only safetensors, configs and the tokenizer go there, and no file that names a place on this machine.
    """
    import tempfile

    from hub_tools.errors import DataError
    from hub_tools.run.run import Run
    from hub_tools.run.single import checkpoint_recipe
    from hub_tools.run.summary import print_next, print_outcomes
    from training.adopt import chosen_files
    from training.errors import TrainingError

    try:
        files = chosen_files(folder)
    except TrainingError as error:
        raise DataError(str(error)) from error
    with tempfile.TemporaryDirectory() as staging:
        bound = Run(checkpoint_recipe(files, Path(staging), repo, base, dataset, license_))
        outcomes = list(bound.run())
    out = console()
    left = sorted({path.name for path in folder.iterdir()} - {path.name for path in files})
    if left:
        out.print(f"Not published: {', '.join(left)}", highlight=False, markup=False, soft_wrap=True)
    print_outcomes(out, bound.hub, outcomes)
    print_next(out, bound.recipe, bound.hub, outcomes)
