"""Every shipped recipe and every setting's description."""

from __future__ import annotations

from pathlib import Path

import pytest

from hub_tools.errors import RecipeError
from hub_tools.recipe import load
from hub_tools.run.graph import build
from hub_tools.stages.registry import STAGES
from training.settings import TrainSettings, load_settings

RECIPES = sorted((Path(__file__).parents[1] / "hub_tools" / "recipes").glob("*.yaml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_shipped_recipe_is_valid(path: Path) -> None:
    graph = build(load(path))
    assert list(graph.nodes)[-1] == "report"


def test_the_demo_runs_the_default_graph_in_order() -> None:
    graph = build(load(RECIPES[[path.stem for path in RECIPES].index("demo")]))
    assert list(graph.nodes) == [
        "base", "seed", "train-backward", "responses", "backtranslate", "train-forward",
        "curate", "rewrite", "distill", "mix", "train-final", "report",
    ]  # fmt: skip
    assert graph.nodes["train-final"].repo == "demo/backforth-final-135m"
    assert graph.nodes["rewrite"].repo == "demo/backforth-rewritten"


def test_the_papers_recipe_trains_as_its_settings_file_says() -> None:
    graph = build(load(next(path for path in RECIPES if path.stem == "paper-7b")))
    meant = load_settings(RECIPES[0].parents[2] / "training" / "configs" / "paper-7b-full.yaml")
    chosen = {"steps", "keep_steps", "held_out"}  # of a longer training, whose best step is published
    found = {
        name: node.config for name, node in graph.nodes.items() if isinstance(node.config, TrainSettings)
    }
    assert list(found) == ["train-backward", "train-forward", "train-final"]
    for name, settings in found.items():
        free = set() if name == "train-final" else chosen
        fields = set(TrainSettings.model_fields) - free
        assert settings.model_dump(include=fields) == meant.model_dump(include=fields), name


def test_every_setting_of_every_stage_is_explained() -> None:
    build(load(RECIPES[0]))
    for stage in STAGES.values():
        for name, field in stage.config.model_fields.items():
            assert field.description, f"{stage.name}.{name}"
        assert stage.summary.endswith((".", ":")), stage.name


def test_a_recipe_that_names_no_hub_is_for_that_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("namespace: demo\nstages: {seed: {source: x}}\n")
    monkeypatch.setenv("HF_ENDPOINT", "https://hub.example.org")
    assert load(path).file.hub.endpoint == "https://hub.example.org"
    monkeypatch.delenv("HF_ENDPOINT")
    assert load(path).file.hub.endpoint == "https://huggingface.co"


def test_nodes_come_in_file_order_and_after_what_they_read(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(
        "namespace: demo\nendpoints: {e: {model: a/b-1m}}\nstages:\n"
        "  distill: {asks: e, reads: {pairs: demo/x@v1:kept}}\n"
        "  mix: {reads: {web: distill}}\n  seed: {source: x}\n  report: {reads: [mix]}\n"
    )
    graph = build(load(path))
    assert list(graph.nodes) == ["distill", "seed", "mix", "report"]
    reading = graph.nodes["distill"].reads["pairs"]
    assert (reading.repo, reading.revision, reading.config) == ("demo/x", "v1", "kept")


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ("{rewrite: {}}", "stages.rewrite asks the endpoint 'rewriter'"),
        ("{nonsense: {}}", "there is no stage 'nonsense'"),
        ("{seed: {source: x}, Seed: {stage: seed}}", "lower-case letters"),
        (
            "{a: {stage: seed, source: x, repo: r}, b: {stage: seed, source: x, repo: r}}",
            "would both publish",
        ),
        ("{train-final: {reads: {pairs: a/b}}}", "stages.train-final.reads.base is missing"),
        (
            "{seed: {source: x}, train-final: {repo: x, reads: {pairs: a/b, base: seed}}}",
            "makes rows and no model",
        ),
        (
            "{train-final: {reads: {pairs: a/b, base: a/m-1b}}, "
            "z: {stage: train-final, reads: {pairs: a/b, base: train-final}}}",
            "its base has no repo of its own",
        ),
        (
            "{train-final: {reads: {pairs: a/b, base: a/m-1b}, warmup_ratio: 0.1}}",
            "warmup_ratio is no setting; here it is warmup",
        ),
        ("{seed: {source: x, reads: {y: z}}}", "stages.seed.reads.y: the stage seed reads nothing"),
        (
            "{train-final: {reads: {pairs: a/b, base: a/m-1b}, merge: true, method: full}}",
            "no adapter to merge",
        ),
    ],
)
def test_wrong_wiring_is_one_line_that_names_the_place(tmp_path: Path, stages: str, message: str) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(f"namespace: demo\nstages: {stages}\n")
    with pytest.raises(RecipeError) as error:
        build(load(path))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_circle_is_named(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(
        "namespace: demo\nendpoints: {e: {model: train-final}}\nstages:\n"
        "  distill: {asks: e, reads: {pairs: a/b}}\n  mix: {reads: {seed: a/b, web: distill}}\n"
        "  train-final: {reads: {base: a/m-1b}}\n"
    )
    with pytest.raises(RecipeError, match="in a circle: "):
        build(load(path))


@pytest.mark.parametrize("override", ["a", "=1", "stages..x=1", "name.x=1", "seed=["])
def test_a_broken_override_is_refused(tmp_path: Path, override: str) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("name: n\nnamespace: demo\nstages: {seed: {source: x}}\n")
    with pytest.raises(RecipeError, match="--set"):
        load(path, [override])


def test_an_override_reaches_its_place_and_the_published_recipe_holds_no_folder(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(
        f"namespace: demo\nwork: {tmp_path}\nstages: {{seed: {{source: {tmp_path}/trees.jsonl}}}}\n"
    )
    recipe = load(path, ["stages.seed.max_pairs=7", "hub.store=/secret"])
    assert recipe.raw["stages"]["seed"]["max_pairs"] == 7
    assert "max_pairs: 7" in recipe.public()
    assert str(tmp_path) not in recipe.public()
    assert "secret" not in recipe.public()


def test_an_override_changes_one_node_of_those_that_share_their_settings_by_an_alias(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("namespace: a\nstages: {one: &shared {stage: seed, max_pairs: 1}, two: *shared}\n")
    stages = load(path, ["stages.one.max_pairs=2"]).file.stages
    assert (stages["one"] or {})["max_pairs"] == 2
    assert (stages["two"] or {})["max_pairs"] == 1
