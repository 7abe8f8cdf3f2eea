from __future__ import annotations

import ast
import re

import pytest
import yaml
from card_samples import CURATED, dataset_facts, example
from huggingface_hub import DatasetCard
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from dataset_cards.dataset import dataset_card
from dataset_cards.facts import Config, Example, Funnel, ModelUse, Source

PAGE = MarkdownIt("commonmark").enable("table")


def body(card: str) -> str:
    """Return a card without its YAML block."""
    return card.split("\n---\n", 1)[1]


def data(card: str) -> dict[str, object]:
    """Return a card's YAML block as huggingface_hub reads it."""
    return DatasetCard(card).data.to_dict()


def test_the_hub_reads_the_metadata() -> None:
    found = data(dataset_card(dataset_facts()))
    assert found["license"] == "odc-by"
    assert found["language"] == ["en"]
    assert found["size_categories"] == ["n<1K"]
    assert found["task_categories"] == ["text-generation"]
    assert found["source_datasets"] == ["demo/backforth-curated"]
    assert {"backforth", "instruction-backtranslation", "synthetic", "arxiv:2408.04614"} <= set(found["tags"])
    assert [config.get("default", False) for config in found["configs"]] == [True, False]


def test_text_that_people_wrote_is_not_called_synthetic() -> None:
    assert "synthetic" not in data(dataset_card(dataset_facts(synthetic=False)))["tags"]


def test_the_first_config_is_the_default_if_none_is_marked() -> None:
    configs = [Config(name=name, description="", rows=1, bytes=1, features=[]) for name in ("b", "a")]
    found = data(dataset_card(dataset_facts(configs=configs)))["configs"]
    assert [(config["config_name"], config.get("default")) for config in found] == [("b", True), ("a", None)]


@pytest.mark.parametrize(
    ("rows", "bucket"),
    [
        (0, "n<1K"),
        (999, "n<1K"),
        (1000, "1K<n<10K"),
        (9_999_999, "1M<n<10M"),
        (10**9, "1B<n<10B"),
        (10**12, "n>1T"),
    ],
)
def test_the_size_bucket_follows_the_rows_of_the_default_config(rows: int, bucket: str) -> None:
    configs = [
        Config(name="rejected", description="", rows=5000, bytes=1, features=[]),
        Config(name="kept", description="", rows=rows, bytes=1, features=[], default=True),
    ]
    assert data(dataset_card(dataset_facts(configs=configs)))["size_categories"] == [bucket]


def test_the_funnel_adds_up_and_names_every_reason() -> None:
    table = body(dataset_card(dataset_facts())).split("## What became of the rows")[1].split("##")[0]
    rows = re.findall(r"\| (.+?) \| (\d+) \| ([\d.]+) % \|", table)
    assert rows == [
        ("read", "10", "100.0"),
        ("rejected: `no_marks`", "5", "50.0"),
        ("rejected: `truncated`", "2", "20.0"),
        ("kept", "3", "30.0"),
    ]


def test_the_load_snippet_is_python_that_names_this_version_and_every_config() -> None:
    rejected = Config(name="rejected", description="", rows=7, bytes=1, features=[])
    facts = dataset_facts(configs=[dataset_facts().configs[0], rejected])
    snippet = body(dataset_card(facts)).split("```python\n")[1].split("```")[0]
    calls = [node for node in ast.walk(ast.parse(snippet)) if isinstance(node, ast.Call)]
    assert [[ast.literal_eval(argument) for argument in call.args] for call in calls] == [
        ["demo/backforth-rewritten"],
        ["demo/backforth-rewritten", "rejected"],
    ]
    assert all(ast.literal_eval(call.keywords[-1].value) == "v2" for call in calls)


def test_limits_stand_before_everything_but_the_summary() -> None:
    page = body(dataset_card(dataset_facts(notes=["Scores parsed for `12 %` of answers."])))
    assert page.index("Scores parsed for `12 %` of answers.") < page.index("## Load it")


def test_sections_with_nothing_to_say_are_left_out() -> None:
    page = body(
        dataset_card(
            dataset_facts(
                examples=[], prompts={}, models=[], cost=None, settings={}, sources=[], notes=[], body=""
            )
        )
    )
    for heading in ("Examples", "Prompts", "Models", "cost", "Settings", "Where it comes from", "Statistics"):
        assert f"## {heading}" not in page
    assert "Before you use it" not in page
    assert "\n\n\n" not in page


def test_a_repo_without_rows_says_nothing_about_loading() -> None:
    card = dataset_card(
        dataset_facts(configs=[], funnel=Funnel(read=0, kept=0, rejects={}), body="## Report\n\nText.")
    )
    assert "load_dataset" not in card
    assert not {"configs", "dataset_info", "size_categories"} & set(data(card))
    assert "## Report\n\nText." in card


def test_every_input_is_shown_with_its_revision() -> None:
    page = body(dataset_card(dataset_facts()))
    assert CURATED.uri in page
    assert "b" * 40 in page


def test_the_strictest_licence_is_explained() -> None:
    model = ModelUse(role="rewriter", repo="meta/chat", sha="d" * 40, license="llama2", sampling={})
    card = dataset_card(dataset_facts(models=[model], license="llama2"))
    assert data(card)["license"] == "llama2"
    assert "Of odc-by and llama2 the strictest is llama2" in card


def test_the_licences_of_the_rows_count_where_files_state_none() -> None:
    file = Source(name="corpus.jsonl", uri="sha256:" + "e" * 64, version=None, rows=None, license=None)
    card = dataset_card(dataset_facts(sources=[file], licenses=["odc-by", "mit"], license="odc-by"))
    assert "Of mit and odc-by the strictest is odc-by" in card
    assert "not known here" not in card


def test_a_licence_that_the_hub_does_not_know_is_other_with_a_name() -> None:
    found = data(dataset_card(dataset_facts(license="My Own: Terms")))
    assert (found["license"], found["license_name"]) == ("other", "my-own-terms")


@pytest.mark.parametrize("name", ["gpl-3.0", "llama3.1", "MIT License", "odc-by"])
def test_a_licence_that_the_hub_knows_keeps_its_id(name: str) -> None:
    found = data(dataset_card(dataset_facts(license=name)))
    assert found["license"] == {"MIT License": "mit"}.get(name, name)
    assert "license_name" not in found


def test_at_most_three_examples_are_shown_and_long_ones_folded() -> None:
    page = body(dataset_card(dataset_facts(examples=[example(web="w " * 2500)] * 5)))
    assert page.count("### Example") == 3
    assert page.count("… (3,800 more characters)") == 3


HOSTILE = st.one_of(
    st.text(max_size=40),
    st.text(alphabet="`~<>|\\*_[]()!#&;:/-+=$ '\"{}%,\n\r\t\x00\x85\u2028\ud800ab", max_size=40),
    st.sampled_from(
        ["---\nlicense: mit\n---", "a\n---\n", "```\n# out", "{{ 7*7 }}", "{% raw %}", "|a|b|", "<b>x</b>"]
    ),
)


@settings(deadline=None)
@given(HOSTILE.filter(str.strip))
def test_no_text_breaks_the_yaml_or_the_page(text: str) -> None:
    plain = card_with("plain")
    card = card_with(text)
    assert set(data(card)) - {"license_name", "language"} == set(data(plain)) - {"license_name", "language"}
    assert data(card)["configs"][0]["config_name"] == "kept"
    assert data(card)["dataset_info"][0]["features"] == [{"name": text, "dtype": "string"}]
    assert outline(card) == outline(plain)
    card.encode()


def card_with(text: str) -> str:
    """Return a card in which everything that others can write is this text."""
    return dataset_card(
        dataset_facts(
            license=text,
            languages=[text],
            notes=[text],
            funnel=Funnel(read=2, kept=1, rejects={text: 1}),
            configs=[
                Config(
                    name="kept",
                    description=text,
                    rows=1,
                    bytes=1,
                    features=[{"name": text, "dtype": "string"}],
                )
            ],
            examples=[Example(id=text, head={text: text}, columns={text: text, text + "!": text})],
            prompts={text: text},
            settings={"a": text},
            statistics=[(text, text, text)],
            sources=[Source(name=text, uri=text, version=text, rows=1, license=text)],
            models=[ModelUse(role=text, repo=text, sha=text, license=text, sampling={"t": text})],
        )
    )


def outline(card: str) -> list[str]:
    """Return the block structure of a card's page, with the text of its headings."""
    tokens = PAGE.parse(body(card))
    heads = [tokens[at + 1].content for at, token in enumerate(tokens) if token.type == "heading_open"]
    return [token.type for token in tokens] + heads


def test_the_same_facts_give_the_same_bytes() -> None:
    assert dataset_card(dataset_facts()) == dataset_card(dataset_facts())


def test_the_yaml_block_holds_only_plain_values() -> None:
    block = dataset_card(dataset_facts()).split("---\n")[1]
    assert yaml.safe_load(block)["dataset_info"][0]["splits"] == [
        {"name": "train", "num_bytes": 999, "num_examples": 3}
    ]
