from __future__ import annotations

import ast
import re
from collections import Counter
from dataclasses import replace

import pytest
import yaml
from card_samples import CURATED, dataset_facts, example, lineage, step
from huggingface_hub import DatasetCard
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from dataset_cards.dataset import dataset_card, dataset_files
from dataset_cards.facts import (
    Changes,
    Config,
    Example,
    Funnel,
    Lineage,
    ModelUse,
    Origin,
    RowChanges,
    Source,
)
from dataset_cards.kept import END, START
from dataset_cards.lengths import Lengths, PairLengths

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
        ("kept: the config `rewritten`", "3", "30.0"),
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
        [
            *(
                "---\nlicense: mit\n---",
                "a\n---\n",
                "```\n# out",
                "{{ 7*7 }}",
                "{% raw %}",
                "|a|b|",
                "<b>x</b>",
            ),
            *(
                "-->",
                "<!--",
                "$$x$$",
                "\\(x\\)",
                "\u202e\u2066evil",
                "👩‍👩‍👧",
                "\x00",
                "</details>",
                "<br>" * 9,
            ),
            *("> quote", "![x](http://x/y.png)", "[ ] todo", "x" * 3000, f"a\n{START}\nb\n{END}\nc", END),
            *("https://creativecommons.org/licenses/by/4.0/", "https://x/a b)<c>", "javascript:alert(1)"),
        ]
    ),
)


@settings(deadline=None)
@given(HOSTILE.filter(str.strip))
def test_no_text_breaks_the_yaml_or_the_page(text: str) -> None:
    plain = card_with("plain")
    card = card_with(text)
    own = {"license_name", "license_link", "language"}
    assert set(data(card)) - own == set(data(plain)) - own
    assert data(card)["configs"][0]["config_name"] == "kept"
    assert data(card)["dataset_info"][0]["features"] == [{"name": text, "dtype": "string"}]
    assert outline(card) == outline(plain)
    assert (card.count(f"\n{START}\n"), card.count(f"\n{END}\n")) == (1, 1)
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
            lineage=Lineage(steps=[step(text), step("b", title=text)], arrows=[(text, "b")]),
            changes=Changes(
                since=text,
                rows={text: RowChanges(added=1, dropped=0, changed=0, same=0)},
                settings=[(text, text, text)],
                inputs=[(text, text, text)],
            ),
            origins=[Origin(source=text, license=text, rows=1)],
            tokenizer=text,
            lengths=PairLengths(Lengths(Counter([1])), Lengths(Counter([2]))),
            scores={5: 1},
            models=[ModelUse(role=text, repo=text, sha=text, license=text, sampling={"t": text})],
        )
    )


def outline(card: str) -> list[str]:
    """Return the block structure of a card's page, its headings but that of the changes, its HTML."""
    tokens = PAGE.parse(body(card))
    heads = [tokens[at + 1].content for at, token in enumerate(tokens) if token.type == "heading_open"]
    html = [
        child.content for token in tokens for child in token.children or [] if child.type == "html_inline"
    ]
    blocks = [re.sub(r">[^<]+<", "><", token.content) for token in tokens if token.type == "html_block"]
    return [
        *(token.type for token in tokens),
        *(head for head in heads if not head.startswith("Changes since")),
        *(tag for tag in html if tag != "<br>"),
        *blocks,
    ]


def test_the_same_facts_give_the_same_bytes() -> None:
    assert dataset_card(dataset_facts()) == dataset_card(dataset_facts())


def test_the_yaml_block_holds_only_plain_values() -> None:
    block = dataset_card(dataset_facts()).split("---\n")[1]
    assert yaml.safe_load(block)["dataset_info"][0]["splits"] == [
        {"name": "train", "num_bytes": 999, "num_examples": 3}
    ]


def section(card: str, title: str) -> str:
    """Return what stands under a heading of a card's page."""
    return body(card).split(f"\n## {title}", 1)[1].split("\n## ", 1)[0]


def test_everything_the_page_shows_is_in_the_repo() -> None:
    facts = dataset_facts(
        scores={5: 3},
        lengths=PairLengths(Lengths(Counter([3, 4])), Lengths(Counter([30, 40]))),
        lineage=lineage("curate>rewrite"),
        pictures={"pictures/own plot.png": b"png"},
    )
    files = dataset_files(facts)
    shown = re.findall(r"!\[.+?\]\((.+?)\)", files["README.md"].decode())
    assert sorted(shown) == [
        *("pictures/lengths.png", "pictures/lineage.svg", "pictures/own%20plot.png", "pictures/rejects.png"),
        "pictures/scores.png",
    ]
    assert set(files) == {path.replace("%20", " ") for path in shown} | {"README.md"}
    assert all(files[path].startswith(b"\x89PNG") for path in files if path.endswith("s.png"))


def test_nothing_is_drawn_of_nothing() -> None:
    facts = dataset_facts(funnel=Funnel(read=3, kept=3, rejects={"empty": 0}), scores={5: 0})
    assert set(dataset_files(facts)) == {"README.md"}


def test_a_picture_of_the_stage_is_not_drawn_over() -> None:
    facts = dataset_facts(pictures={"pictures/rejects.png": b"own"}, body="![R](pictures/rejects.png)")
    files = dataset_files(facts)
    assert files["pictures/rejects.png"] == b"own"
    assert files["README.md"].count(b"pictures/rejects.png") == 1


def test_the_same_facts_give_the_same_files() -> None:
    facts = dataset_facts(scores={5: 3}, lineage=lineage("curate>rewrite"))
    assert dataset_files(facts) == dataset_files(facts)


def test_what_a_person_wrote_into_the_previous_card_is_in_the_files() -> None:
    before = dataset_card(dataset_facts(version="v1")).replace(START, f"{START}\nMind the duplicates.")
    assert b"Mind the duplicates." in dataset_files(dataset_facts(), before)["README.md"]


def test_the_texts_of_an_example_stand_side_by_side() -> None:
    found = Example(
        id="9f", head={"instruction": "One?\nTwo?"}, columns={"web text": "a\n\n  b|c", "rewritten": "d"}
    )
    page = section(dataset_card(dataset_facts(examples=[found])), "Examples")
    rows = [line for line in page.splitlines() if line.startswith("|")]
    assert [line.replace("&nbsp;", "").split(" | ") for line in rows[:1]] == [["| web text", "rewritten |"]]
    assert rows[2] == "| a<br><br>&nbsp;&nbsp;b\\|c | d |"
    assert "> One?<br>Two?" in page


def test_a_megabyte_of_one_word_is_folded_and_can_be_broken() -> None:
    card = dataset_card(dataset_facts(examples=[example(web="x" * 2**20)], tokenizer="t"))
    assert len(card) < 20_000
    assert "(1,047,376 more characters)" in card
    assert not re.search(r"x{41}", card)


def test_a_new_version_says_what_changed() -> None:
    changes = Changes(
        since="v1",
        rows={"rewritten": RowChanges(added=1200, dropped=3, changed=4, same=5)},
        settings=[("temperature", "0.7", "1.0")],
        inputs=[("curate", "v2", "v3")],
    )
    page = section(dataset_card(dataset_facts(changes=changes)), "Changes since v1")
    assert "| `rewritten` | 1,200 | 3 | 4 | 5 |" in page
    assert "| `temperature` | `0.7` | `1.0` |" in page
    assert "| `curate` | `v2` | `v3` |" in page


def test_a_version_with_the_same_settings_and_inputs_says_so() -> None:
    page = section(dataset_card(dataset_facts(changes=Changes(since="v1"))), "Changes since v1")
    assert page.strip() == "All settings and inputs are those of v1."


def test_only_the_first_version_calls_itself_so() -> None:
    assert "This is the first version." in dataset_card(dataset_facts(version="v1"))
    assert "## Changes" not in dataset_card(dataset_facts(version="v4"))


def test_every_corpus_and_every_licence_is_named_with_what_it_asks() -> None:
    origins = [
        Origin(source="dolma", license="ODC-By", rows=9000),
        Origin(source="forum", license="cc-by-nc-4.0", rows=7),
    ]
    card = dataset_card(dataset_facts(origins=origins, licenses=["odc-by", "llama2"], license="llama2"))
    page = section(card, "Licence, attribution and use limits")
    assert "| `dolma` | `ODC-By` | 9,000 | asks for attribution |" in page
    assert (
        "- `cc-by-nc-4.0` ([text](<https://creativecommons.org/licenses/by-nc/4.0/>))\n  - No commercial"
        in page
    )
    assert "700 million" in page
    assert "no legal advice" in page


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"synthetic": True}, "Language models wrote a part of this text."),
        ({"scores": {5: 1}}, "A score is the opinion of a model"),
        ({"lengths": PairLengths(Lengths(), Lengths(Counter([7])))}, "a random sample of 1 pairs"),
    ],
)
def test_known_limits_follow_from_the_facts(changes: dict[str, object], sentence: str) -> None:
    assert sentence in section(dataset_card(dataset_facts(**changes)), "Known limits")
    plain = dataset_facts(synthetic=False, scores={}, lengths=None)
    assert sentence not in section(dataset_card(plain), "Known limits")


def test_thousands_of_inputs_and_corpora_make_no_endless_page() -> None:
    sources = [replace(CURATED, name=f"part-{at}.jsonl.gz") for at in range(3000)]
    origins = [Origin(source=f"site-{at}", license="mit", rows=2) for at in range(3000)]
    card = dataset_card(dataset_facts(sources=sources, origins=origins))
    assert len(card) < 30_000
    assert "2,950 more inputs are in `provenance.json`." in card
    assert "| 2,950 more | | 5,900 | |" in card


def test_columns_with_the_same_measures_share_a_table() -> None:
    found = [
        ("text", "mean", "4.5"),
        ("text", "longest", "9"),
        ("draft", "mean", "3"),
        ("draft", "longest", "8"),
    ]
    card = dataset_card(dataset_facts(statistics=[*found, ("rank", "0", "12")]))
    rows = [line for line in section(card, "Statistics").splitlines() if line.startswith("|")]
    assert rows == [
        *("| Column | mean | longest |", "|---|---:|---:|", "| `text` | 4.5 | 9 |", "| `draft` | 3 | 8 |"),
        *("| Column | 0 |", "|---|---:|", "| `rank` | 12 |"),
    ]


def test_a_page_of_numbers_is_no_data_to_train_on() -> None:
    card = dataset_card(dataset_facts(body="## Report", synthetic=False))
    assert "task_categories" not in data(card)
    assert "## Known limits" not in card
