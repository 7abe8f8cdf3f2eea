"""What a user gets wrong ends as one line that names the place and the way out, before any work is lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from run_support import BASE, HubAddress, backforth, small_recipe, write_lines, write_recipe


@pytest.fixture
def recipe(empty_hub: HubAddress, tmp_path: Path) -> dict[str, Any]:
    """A recipe that needs no model: it reads its seed and stops there."""
    recipe = small_recipe(tmp_path, empty_hub, "refused")
    recipe["stages"] = {"seed": recipe["stages"]["seed"]}
    recipe["endpoints"] = {}
    return recipe


def refusal(
    hub: HubAddress, folder: Path, recipe: dict[str, Any], *arguments: str, **more: str
) -> tuple[int, str]:
    """Run a recipe that must be refused; return the exit code and the one line."""
    done = backforth(hub, "run", str(write_recipe(folder, recipe)), *arguments, **more)
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, done.stderr
    assert "Traceback" not in done.stderr
    return done.returncode, lines[0]


def test_an_unknown_key_is_named_with_the_nearest_one(
    empty_hub: HubAddress, tmp_path: Path, recipe: dict[str, Any]
) -> None:
    recipe["stages"]["seed"]["langage"] = "en"
    code, line = refusal(empty_hub, tmp_path, recipe)
    assert code == 2
    assert line == "error: recipe.yaml: stages.seed.langage is no setting; did you mean language?"


def test_a_wrong_type_says_what_it_got(empty_hub: HubAddress, tmp_path: Path, recipe: dict[str, Any]) -> None:
    recipe["stages"]["seed"]["max_pairs"] = "many"
    code, line = refusal(empty_hub, tmp_path, recipe)
    assert code == 2
    assert "stages.seed.max_pairs is 'many'" in line


def test_top_p_of_one_is_refused_as_tgi_would(
    empty_hub: HubAddress, tmp_path: Path, recipe: dict[str, Any]
) -> None:
    recipe["endpoints"] = {"rewriter": {"model": "demo/x-1m"}}
    recipe["stages"]["distill"] = {"reads": {"pairs": "demo/pairs"}, "top_p": 1.0}
    code, line = refusal(empty_hub, tmp_path, recipe)
    assert code == 2
    assert "stages.distill.top_p is 1.0" in line
    assert "0 < top_p < 1" in line


def test_a_node_that_is_not_there_is_named(
    empty_hub: HubAddress, tmp_path: Path, recipe: dict[str, Any]
) -> None:
    recipe["stages"]["mix"] = {"reads": {"seed": "seeds", "web": "seed"}}
    code, line = refusal(empty_hub, tmp_path, recipe)
    assert code == 2
    assert "stages.mix.reads.seed names 'seeds', which is no node of this recipe (seed, mix)" in line


def test_a_node_that_makes_other_rows_is_refused(
    empty_hub: HubAddress, tmp_path: Path, recipe: dict[str, Any]
) -> None:
    recipe["stages"]["mix"] = {"reads": {"web": "seed"}}
    code, line = refusal(empty_hub, tmp_path, recipe)
    assert code == 2
    assert "stages.mix.reads.web is 'seed', which makes Seed rows" in line


def test_an_endpoint_that_does_not_answer_is_found_before_anything_runs(
    hub: HubAddress, tmp_path: Path, recipe: dict[str, Any]
) -> None:
    recipe["endpoints"] = {"rewriter": {"model": BASE, "url": "http://127.0.0.1:9"}}
    code, line = refusal(hub, tmp_path, recipe)
    assert code == 1
    assert "endpoints.rewriter: http://127.0.0.1:9 does not answer" in line
    assert line.endswith(f"serve {BASE} there, or mend endpoints.rewriter.url")
    assert not (tmp_path / "work" / "demo" / "refused" / "seed").exists()


def test_a_namespace_of_somebody_else_is_found_before_anything_runs(
    empty_hub: HubAddress, tmp_path: Path, recipe: dict[str, Any]
) -> None:
    recipe["namespace"] = "somebody"
    recipe["hub"] = {"endpoint": empty_hub.endpoint}
    code, line = refusal(empty_hub, tmp_path, recipe)
    assert code == 1
    assert "cannot write to the namespace 'somebody'; set `namespace:` to one of demo" in line


def test_the_embedded_hub_stays_with_the_namespace_it_was_made_for(
    empty_hub: HubAddress, tmp_path: Path, recipe: dict[str, Any]
) -> None:
    recipe["namespace"] = "somebody"
    code, line = refusal(empty_hub, tmp_path, recipe)
    assert code == 1
    assert "belongs to demo and cannot write to the namespace 'somebody'" in line


def test_a_wrong_token_is_named(empty_hub: HubAddress, tmp_path: Path, recipe: dict[str, Any]) -> None:
    recipe["hub"] = {"endpoint": empty_hub.endpoint}
    code, line = refusal(empty_hub, tmp_path, recipe, HF_TOKEN="hf_nonsense")
    assert code == 1
    assert "token" in line
    assert "hf_nonsense" not in line


def test_a_hub_that_does_not_answer_is_named(
    empty_hub: HubAddress, tmp_path: Path, recipe: dict[str, Any]
) -> None:
    recipe["hub"] = {"endpoint": "http://127.0.0.1:9"}
    code, line = refusal(empty_hub, tmp_path, recipe)
    assert code == 1
    assert "http://127.0.0.1:9" in line


def test_an_empty_corpus_names_the_setting(
    empty_hub: HubAddress, tmp_path: Path, recipe: dict[str, Any]
) -> None:
    path = write_recipe(tmp_path, recipe)
    (tmp_path / "trees.jsonl").write_text("\n")
    done = backforth(empty_hub, "run", str(path))
    assert done.returncode == 1
    assert (
        "trees.jsonl: there is not a single document; point stages.seed.source at JSON lines" in done.stderr
    )


def test_a_missing_source_is_found_before_anything_runs(
    empty_hub: HubAddress, tmp_path: Path, recipe: dict[str, Any]
) -> None:
    recipe["stages"]["seed"]["source"] = "nowhere.jsonl"
    code, line = refusal(empty_hub, tmp_path, recipe)
    assert code == 1
    assert "nowhere.jsonl: there is no such file" in line


def test_a_line_that_is_not_json_stops_with_its_number_or_is_rejected(
    empty_hub: HubAddress, tmp_path: Path, recipe: dict[str, Any]
) -> None:
    with (tmp_path / "trees.jsonl").open("a") as file:
        file.write("{broken\n")
    code, line = refusal(empty_hub, tmp_path, recipe)
    assert code == 1
    assert "trees.jsonl:11 is not JSON" in line
    assert "stages.seed.bad_lines: reject" in line
    done = backforth(empty_hub, "run", str(tmp_path / "recipe.yaml"), "--set", "stages.seed.bad_lines=reject")
    assert done.returncode == 0, done.stderr


def test_no_row_left_is_an_error_with_the_reasons(
    empty_hub: HubAddress, tmp_path: Path, recipe: dict[str, Any]
) -> None:
    path = write_recipe(tmp_path, recipe)
    write_lines(
        tmp_path / "trees.jsonl", [{"message_tree_id": "a", "prompt": {"text": "Was?", "lang": "de"}}]
    )
    done = backforth(empty_hub, "run", str(path))
    assert done.returncode == 1
    assert "stages.seed kept no row at all (1 language)" in done.stderr


@pytest.mark.parametrize("content", ["- a list", "a: [", "{}", "namespace: demo", "\x00"])
def test_a_file_that_is_no_recipe_is_refused(empty_hub: HubAddress, tmp_path: Path, content: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(content)
    done = backforth(empty_hub, "run", str(path))
    assert done.returncode == 2
    assert done.stderr.startswith("error: recipe.yaml: ")
    assert done.stderr.count("\n") == 1
