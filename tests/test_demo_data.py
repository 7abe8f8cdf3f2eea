"""The demo's own data: its formats, its counts, its odd documents, and that none of it is copied."""

import csv
import gzip
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
DEMO = ROOT / "hub_tools" / "recipes" / "demo"
REAL = ROOT.parent / "shared" / "data"

TREE = {"message_tree_id", "tree_state", "prompt"}
PROMPT = {
    "message_id",
    "text",
    "role",
    "lang",
    "review_count",
    "review_result",
    "deleted",
    "synthetic",
    "replies",
}
TURN = PROMPT | {"parent_id"}
DOCUMENT = {"added", "created", "id", "metadata", "source", "text"}
METADATA = {
    "bucket",
    "cc_segment",
    "date_download",
    "digest",
    "language",
    "language_score",
    "length",
    "line_ids",
    "nlines",
    "original_length",
    "original_nlines",
    "perplexity",
    "provenance",
    "source_domain",
    "title",
    "url",
}

GERMAN = "https://radhaus.example.org/werkstatt/nabendynamo"
FRENCH = "https://marche-du-vallon.example.net/actualites/reprise-du-marche"
LONG = "https://www.oakholt-parish.example.org/chronicle/1871-1932"
SHORT = "https://old.riverpost.example.com/2016/index"
CONTROL = "https://forum.plainbots.example.org/t/198/my-helper-answers-itself"
COPIED, COPY = (
    "https://history.plainthings.example.com/bricks",
    "https://mirror.readingcopies.example.net/crafts/handmade-bricks",
)
VARIED, VARIANT = (
    "https://homecraft.example.org/heating/bleed-a-radiator",
    "https://tenants-advice.example.com/winter/cold-radiators",
)
MENUS = "https://shop.bargainbarn.example.net/all-categories?page=7"
INJECTION = "https://blog.guestbookgarden.example.com/what-people-type"
ODD = {GERMAN, FRENCH, LONG, SHORT, CONTROL, COPY, VARIANT, MENUS, INJECTION}


def read(path: Path) -> list[dict[str, Any]]:
    lines = path.read_bytes().decode("utf-8").splitlines()
    return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def trees() -> list[dict[str, Any]]:
    return read(DEMO / "seed_trees.jsonl")


@pytest.fixture(scope="module")
def corpus() -> dict[str, dict[str, Any]]:
    documents = read(DEMO / "corpus.jsonl")
    by_id = {document["id"]: document for document in documents}
    assert len(by_id) == len(documents)
    return by_id


def best_reply(tree: dict[str, Any]) -> str | None:
    replies = (reply for reply in tree["prompt"]["replies"] if reply.get("rank") == 0)
    return next((reply["text"] for reply in replies), None)


def usable(trees: list[dict[str, Any]]) -> dict[str, str]:
    """Return best replies by instruction, by the plainest reading of what a seed needs."""
    pairs: dict[str, str] = {}
    for tree in trees:
        prompt, reply = tree["prompt"], best_reply(tree)
        if prompt["lang"] == "en" and not prompt["deleted"] and reply:
            pairs.setdefault(prompt["text"], reply)
    return pairs


def messages(message: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield message
    for reply in message["replies"]:
        yield from messages(reply)


def words(text: str) -> int:
    return len(text.split())


def shingles(text: str, size: int) -> set[tuple[str, ...]]:
    tokens = re.findall(r"\w+", text.lower())
    return {tuple(tokens[i : i + size]) for i in range(len(tokens) - size + 1)}


def strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from strings(item)


def real_texts(path: Path) -> Iterator[str]:
    packed = path.read_bytes()
    text = (gzip.decompress(packed) if path.suffix == ".gz" else packed).decode("utf-8", errors="replace")
    name = path.name.removesuffix(".gz")
    if name.endswith(".jsonl"):
        yield from strings([json.loads(line) for line in text.splitlines() if line.strip()])
    elif name.endswith(".json"):
        yield from strings(json.loads(text))
    elif name.endswith(".csv"):
        yield from strings(list(csv.reader(text.splitlines())))
    else:
        yield re.sub(r"<[^>]*>", " ", text)


def test_trees_have_the_keys_of_a_real_export(trees):
    for tree in trees:
        assert set(tree) == TREE
        assert tree["message_tree_id"] == tree["prompt"]["message_id"]
        for message in messages(tree["prompt"]):
            expected = PROMPT if message is tree["prompt"] else TURN
            assert set(message) - {"emojis", "rank"} == expected
            assert message["synthetic"] is False
            assert {reply["parent_id"] for reply in message["replies"]} <= {message["message_id"]}
            assert {reply["role"] for reply in message["replies"]} <= {"assistant", "prompter"} - {
                message["role"]
            }


def test_ids_of_messages_are_unique(trees):
    ids = [message["message_id"] for tree in trees for message in messages(tree["prompt"])]
    assert len(ids) == len(set(ids))
    assert all(re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", i) for i in ids)


def test_enough_trees_are_usable_and_short(trees):
    pairs = usable(trees)
    assert len(trees) >= 64
    assert len(pairs) >= 60
    assert len(set(pairs.values())) == len(pairs)
    assert all(6 <= words(instruction) <= 30 for instruction in pairs)
    sizes = [words(reply) for reply in pairs.values()]
    assert min(sizes) >= 30
    assert max(sizes) <= 90
    assert 50 <= sum(sizes) / len(sizes) <= 70


def test_a_third_of_the_trees_has_lower_ranked_replies(trees):
    ranked = [[reply.get("rank") for reply in tree["prompt"]["replies"]] for tree in trees]
    assert all(ranks in ([], [0], [0, 1], [0, 1, 2], [None, None]) for ranks in ranked)
    assert sum(1 in ranks for ranks in ranked) >= len(trees) / 3


def test_every_kind_of_unusable_tree_occurs_once(trees):
    prompts = [tree["prompt"] for tree in trees]
    assert sorted(prompt["lang"] for prompt in prompts if prompt["lang"] != "en") == ["de", "es"]
    assert sum(prompt["deleted"] for prompt in prompts) == 1
    assert sum(not prompt["replies"] for prompt in prompts) == 1
    first_replies = [prompt["replies"][0] for prompt in prompts if prompt["replies"]]
    assert sum("rank" in reply and reply["rank"] is None for reply in first_replies) == 1
    assert sum("rank" not in reply for reply in first_replies) == 1
    assert len(prompts) - len({prompt["text"] for prompt in prompts}) == 1
    assert len(trees) - len(usable(trees)) == 7


def test_documents_have_the_keys_of_real_dolma(corpus):
    for document in corpus.values():
        metadata = document["metadata"]
        assert set(document) == DOCUMENT
        assert set(metadata) == METADATA
        assert document["id"] == metadata["url"]
        assert document["source"] == "backforth-demo"
        assert re.fullmatch(r"https://[a-z0-9.-]+\.example\.(org|com|net)/\S+", document["id"])
        assert metadata["source_domain"] == document["id"].split("/")[2]
        assert metadata["bucket"] == "head"
        assert metadata["length"] == len(document["text"]) <= metadata["original_length"]
        assert metadata["nlines"] == len(metadata["line_ids"]) == document["text"].count("\n") + 1


def test_ordinary_documents_are_many_and_short(corpus):
    assert len(corpus) >= 44
    assert set(corpus) >= ODD
    sizes = [words(document["text"]) for url, document in corpus.items() if url not in ODD]
    assert len(sizes) >= 34
    assert min(sizes) >= 60
    assert max(sizes) <= 160
    assert 100 <= sum(sizes) / len(sizes) <= 125


def test_every_odd_document_is_odd_in_its_own_way(corpus):
    text = {url: document["text"] for url, document in corpus.items()}
    language = {url: document["metadata"]["language"] for url, document in corpus.items()}
    assert {url: code for url, code in language.items() if code != "en"} == {GERMAN: "de", FRENCH: "fr"}
    assert [url for url in text if words(text[url]) > 1000] == [LONG]
    assert 25_000 <= len(text[LONG].encode()) <= 30_000
    assert [url for url in text if words(text[url]) < 60] == [SHORT]
    assert words(text[SHORT]) == 5
    assert [url for url in text if re.search(r"<\|\w+\|>", text[url])] == [CONTROL]
    assert text[COPY] == text[COPIED]
    assert len(text) - len(set(text.values())) == 1
    lines = text[MENUS].splitlines()
    assert not [line for line in lines if re.search(r"\w+ \w+ \w+ \w+ \w+\.", line)]
    for trick in (
        "---\n",
        "<script>",
        "onerror=",
        "```yaml",
        "{{",
        "{%",
        "javascript:",
        "!!python",
        "../../",
    ):
        assert [url for url in text if trick in text[url]] == [INJECTION]


def test_only_the_planted_document_is_a_near_duplicate(corpus):
    grams = {
        url: shingles(document["text"], 5) for url, document in corpus.items() if url not in {COPY, SHORT}
    }
    near = {
        (one, two)
        for one in grams
        for two in grams
        if one < two and len(grams[one] & grams[two]) > 0.1 * len(grams[one] | grams[two])
    }
    assert near == {(VARIED, VARIANT)}
    assert len(grams[VARIED] & grams[VARIANT]) > 0.8 * len(grams[VARIED] | grams[VARIANT])
    assert list(corpus).index(VARIED) < list(corpus).index(VARIANT)
    assert list(corpus).index(COPIED) < list(corpus).index(COPY)


@pytest.mark.skipif(
    not REAL.is_dir(), reason="the real data is absent: no ../shared/data beside the checkout"
)
def test_nothing_is_copied_from_the_real_data(trees, corpus):
    texts = [*strings(trees), *(document["text"] for document in corpus.values())]
    own = set().union(*(shingles(text, 8) for text in texts))
    for path in sorted(REAL.iterdir()):
        for text in real_texts(path):
            shared = own & shingles(text, 8)
            assert not shared, f"{path.name} also holds {' '.join(min(shared))!r}"
