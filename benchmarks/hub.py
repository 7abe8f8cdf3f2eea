"""The Hub's figures, each beside a named baseline of the same run.

    python benchmarks/hub.py [SECTION …]

Every figure is the median of some runs; a ratio above 1 means slower (or larger) than the baseline.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")

WORDS = [f"{a}{b}" for a in ("ba", "ko", "li", "mu", "ter", "san") for b in ("ra", "ne", "ti", "lo", "gus")]


def tell(what: str, ours: float, goal: str, baseline: str, theirs: float, unit: str = "s") -> None:
    """Print one figure beside its baseline."""
    ratio = ours / theirs if theirs else float("inf")
    print(
        f"{what:<46} {ours:9.3f} {unit:<3} (goal {goal:<9}) | "
        f"{baseline:<38} {theirs:9.3f} {unit:<3} | ratio {ratio:6.2f}",
        flush=True,
    )


def median(run: Callable[[int], None], times: int) -> float:
    """Return the median seconds of some runs, each told its number."""
    taken = []
    for number in range(times):
        began = time.perf_counter()
        run(number)
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def peak_memory() -> float:
    """Return this process's largest memory so far, in MB; `getrusage` would count its parent's, too."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found[1]) / 1e3


def text(chance: random.Random, words: int) -> str:
    return " ".join(chance.choices(WORDS, k=words))


def table(rows: int, words: int = 150, seed: int = 1) -> Any:
    import pyarrow as pa

    chance = random.Random(seed)
    return pa.table(
        {
            "id": [f"{number:016x}" for number in range(rows)],
            "instruction": [text(chance, 20) for _ in range(rows)],
            "response": [text(chance, words) for _ in range(rows)],
        }
    )


def roundtrip(hub: Any, folder: Path) -> None:
    """Push 10,000 rows, tag them, load them at the tag, as a user of `datasets` does."""
    import datasets

    # Other rows each time: what was sent before, Xet would not send again.
    made = [datasets.Dataset(table(10_000, seed=number)) for number in range(5)]

    def there_and_back(number: int) -> None:
        repo, cache = f"demo/rows-{number}", str(folder / f"cache-{number}")
        made[number].push_to_hub(repo, token=hub.token)
        hub.api.create_tag(repo, tag="v1", repo_type="dataset")
        found = datasets.load_dataset(repo, revision="v1", token=hub.token, split="train", cache_dir=cache)
        assert len(found) == 10_000

    def on_disk(number: int) -> None:
        path = str(folder / f"{number}.parquet")
        made[number].to_parquet(path)
        found = datasets.load_dataset(
            "parquet", data_files=path, split="train", cache_dir=str(folder / f"disk-{number}")
        )
        assert len(found) == 10_000

    tell(
        "10,000 rows: push, tag, load at the tag",
        median(there_and_back, 5),
        "< 1.5 s",
        "to_parquet and load_dataset on disk",
        median(on_disk, 5),
    )


def upload(hub: Any, folder: Path) -> None:
    """Send a file of 160 MB through Xet."""
    files = []
    for number in range(3):
        path = folder / f"{number}.bin"
        path.write_bytes(os.urandom(160_000_000))
        files.append(path)
    hub.api.create_repo("demo/large", exist_ok=True)

    def send(number: int) -> None:
        hub.api.upload_file(path_or_fileobj=files[number], path_in_repo="f.bin", repo_id="demo/large")

    def put(number: int) -> None:
        subprocess.run(["cp", str(files[number]), str(folder / "copy")], check=True)
        subprocess.run(["sha256sum", str(folder / "copy")], check=True, stdout=subprocess.DEVNULL)

    tell("160 MB up through Xet", median(send, 3), "< 6 s", "cp and sha256sum", median(put, 3))


def verify(hub: Any, folder: Path) -> None:
    """Verify a published dataset of 400 MB against sha256sum on the same files."""
    import pyarrow.parquet as pq

    from hub_tools.hub import provenance
    from hub_tools.hub.fingerprint import fingerprint
    from hub_tools.hub.publishing import publish
    from hub_tools.hub.verify import verify as check

    files: dict[str, Path | bytes] = {"README.md": b"# Rows\n"}
    noise = table(2_000)
    for shard in range(4):
        path = folder / f"{shard}.parquet"
        column = [os.urandom(25_000).hex() for _ in range(2_000)]
        pq.write_table(noise.append_column("noise", [column]), path, row_group_size=100, compression="none")
        files[f"data/rows/train-{shard:05d}-of-00004.parquet"] = path

    made_of = fingerprint(
        stage=("benchmark", 1), settings={}, prompts={}, inputs={}, files=[], model=None, seed=None
    )

    def all_files(version: str, head: Any) -> dict[str, Path | bytes]:
        statement = provenance.build(
            node="rows",
            stage="benchmark",
            stage_version=1,
            fingerprint=made_of,
            version=version,
            parameters={},
            dependencies=[],
            files=files,
            started=__import__("datetime").datetime.now(),
            run={},
        )
        return {**files, provenance.PROVENANCE: provenance.to_bytes(statement)}

    ref = publish(hub, "demo/rows", "dataset", made_of, all_files, "Publish")
    paths = [str(path) for path in files.values() if isinstance(path, Path)]
    size = sum(Path(path).stat().st_size for path in paths) / 1e6

    def ours(number: int) -> None:
        (found,) = check(hub, ref)
        assert not found.broken

    def theirs(number: int) -> None:
        subprocess.run(["sha256sum", *paths], check=True, stdout=subprocess.DEVNULL)

    tell(
        f"verify {size:.0f} MB over HTTP",
        median(ours, 5),
        "<= 2 x",
        "sha256sum on disk",
        median(theirs, 5),
    )


def card(hub: Any, folder: Path) -> None:
    """Gather the facts of 50,000 rows and draw their card."""
    import pyarrow.parquet as pq

    from dataset_cards.dataset import dataset_files
    from dataset_cards.facts import Config, DatasetFacts, Funnel
    from hub_tools.columns import read_rows
    from hub_tools.records import Scored
    from hub_tools.run.publishing.parquet import ShardWriter
    from hub_tools.run.publishing.statistics import Statistics

    shards = list(_scored(folder, ShardWriter).values())
    began = time.perf_counter()
    count = sum(1 for _ in read_rows(Scored, shards, "rows"))
    reading = time.perf_counter() - began
    before = peak_memory()
    began = time.perf_counter()
    seen = Statistics()
    for row in read_rows(Scored, shards, "rows"):
        seen.add(row)
    features = [{"name": name, "dtype": "string"} for name in pq.read_schema(shards[0]).names]
    facts = DatasetFacts(
        repo="demo/rows",
        version="v1",
        fingerprint="0" * 64,
        node="curate",
        stage="curate",
        summary="Rows of a benchmark.",
        settings={"min_score": 5},
        sources=[],
        license="odc-by",
        languages=["en"],
        configs=[
            Config(name="scored", description="All", rows=count, bytes=1, features=features, default=True)
        ],
        funnel=Funnel(read=count + 500, kept=count, rejects={"truncated": 300, "no_marks": 200}),
        statistics=seen.table(),
        examples=seen.examples,
        scores=seen.scores,
        lengths=seen.lengths(lambda text: len(text.split())),
        tokenizer="words",
        origins=seen.origins,
    )
    pages = dataset_files(facts)
    seconds = time.perf_counter() - began
    assert {"README.md", "pictures/scores.png", "pictures/lengths.png", "pictures/rejects.png"} <= set(pages)
    tell("card and pictures of 50,000 rows", seconds, "< 10 s", "reading the rows", reading)
    tell("  peak memory", peak_memory(), "< 500 MB", "after reading the rows", before, "MB")


def _scored(folder: Path, writer: Any) -> dict[str, Path]:
    from hub_tools.records import Generation, Scored

    chance = random.Random(2)
    made = Generation(
        model="m",
        model_sha="0" * 40,
        endpoint="e",
        temperature=1.0,
        top_p=0.9,
        seed=1,
        finish_reason="stop",
        prompt_tokens=1,
        completion_tokens=1,
        prompt_sha256="0" * 64,
    )
    shards = writer(folder, "scored", Scored)
    for number in range(50_000):
        shards.add(
            Scored(
                id=f"{number:016x}",
                source="corpus",
                url=None,
                license="odc-by",
                instruction=text(chance, 20),
                response=text(chance, 150),
                score=chance.choice([1, 2, 3, 4, 5, None]),
                expected_score=3.0,
                judgement="Score: 3",
                rule="label",
                generation=made,
            )
        )
    return dict(shards.close())


def pages(hub: Any, folder: Path) -> None:
    """Open the pages of a repo of a million rows."""
    import pyarrow.parquet as pq

    part = table(100_000, words=60)
    hub.api.create_repo("demo/million", repo_type="dataset", private=False)
    for shard in range(10):
        pq.write_table(part, folder / f"train-{shard:05d}.parquet", row_group_size=1000, compression="zstd")
    hub.api.upload_folder(
        repo_id="demo/million",
        repo_type="dataset",
        folder_path=folder,
        path_in_repo="data/rows",
        allow_patterns="train-*.parquet",
    )
    configs = "configs:\n- config_name: rows\n  data_files:\n  - {split: train, path: data/rows/*.parquet}"
    card = f"---\n{configs}\n---\n# Rows\n"
    hub.api.upload_file(
        path_or_fileobj=card.encode(),
        path_in_repo="README.md",
        repo_id="demo/million",
        repo_type="dataset",
    )

    def get(path: str) -> None:
        request = urllib.request.Request(
            f"{hub.endpoint}{path}", headers={"Authorization": f"Bearer {hub.token}"}
        )
        with urllib.request.urlopen(request) as answer:
            assert answer.status == 200
            answer.read()

    baseline = median(lambda number: get("/_store"), 20)
    root = "/datasets/demo/million"
    for name, path in {
        "repo list": "/",
        "repo page": root,
        "files": f"{root}/tree/main/data/rows",
        "commits": f"{root}/commits/main",
        "versions": f"{root}/versions",
        "rows, first page": f"{root}/viewer?config=rows",
        "rows, page 7,000": f"{root}/viewer?config=rows&page=7000",
        "rows, last page": f"{root}/viewer?config=rows&page=10000",
        "lineage": f"{root}/lineage",
    }.items():
        get(path)
        ours = median(lambda number, path=path: get(path), 7)
        tell(f"page of a million rows: {name}", ours * 1e3, "< 200 ms", "GET /_store", baseline * 1e3, "ms")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("section", nargs="*", help=f"of {', '.join(SECTIONS)}; all of them by default")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    for name in options.section or SECTIONS:
        if options.child:
            from hub_tools.hub.repository import Hub

            hub = Hub(os.environ["HF_ENDPOINT"], os.environ["HF_TOKEN"])
            SECTIONS[name](hub, options.child)
        else:
            in_process(name)


def in_process(name: str) -> None:
    """Run a section in a process of its own, with a Hub of its own: clients read its address at import."""
    from hub_tools.hub.server.daemon import ensure, stop

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        store = folder / "store"
        address = ensure(store, 0, "demo")
        here = {"HF_ENDPOINT": address.endpoint, "HF_TOKEN": address.token, "HF_HOME": str(folder / "home")}
        try:
            command = [sys.executable, "-W", "ignore", __file__, name, "--child", temporary]
            subprocess.run(command, env={**os.environ, **here}, check=True)
        finally:
            stop(store)


SECTIONS: dict[str, Callable[[Any, Path], None]] = {
    "roundtrip": roundtrip,
    "upload": upload,
    "verify": verify,
    "card": card,
    "pages": pages,
}

if __name__ == "__main__":
    main()
