from __future__ import annotations

import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parent
PROGRAM = """
import random, resource, time
began = time.process_time()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
from card_samples import DEFAULT, dataset_facts, example
from dataset_cards.dataset import dataset_files
from dataset_cards.facts import Funnel
from dataset_cards.lengths import Lengths, PairLengths
chance = random.Random(0)
lengths = PairLengths(Lengths(), Lengths())
lengths.instruction.add(round(chance.lognormvariate(4, 0.6)) for _ in range(50_000))
lengths.response.add(round(chance.lognormvariate(6, 0.6)) for _ in range(50_000))
facts = dataset_facts(
    lengths=lengths, lineage=DEFAULT, scores={1: 20_000, 5: 29_000, None: 1000},
    examples=[example(web="w" * 2**20)] * 3,
    funnel=Funnel(read=60_000, kept=50_000, rejects={f"reason {at}": 500 for at in range(20)}),
)
assert len(dataset_files(facts)) == 5
print(time.process_time() - began, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


def test_card_and_pictures_of_50_000_rows_take_seconds_and_little_memory() -> None:
    paths = {"PYTHONPATH": f"{FOLDER}:{FOLDER.parents[1]}"}
    found = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, env=paths, timeout=60
    )
    seconds, megabytes = map(float, found.stdout.split())
    assert seconds < 8  # of CPU time; about 1 s on an idle core, with matplotlib and its import
    assert megabytes < 300
