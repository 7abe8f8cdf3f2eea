"""Forecasts: what a pilot measures, how wide its intervals are, and that no answer is asked for twice."""

from __future__ import annotations

import hashlib
import math
import random
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from fault_server import FaultServer, serving
from generate_support import rows
from run_support import BASE, HubAddress, backforth, client, documents, write_lines, write_recipe

from hub_tools.cli.show.forecast import brief, shown
from hub_tools.recipe import Price
from hub_tools.run.forecast import Cost, Estimate, Pilot, Speed, forecast, load, save
from hub_tools.run.pilot import Span, sample, speed

SLOTS, SECONDS = 4, 0.05


def pilot(costs: dict[str, Cost], total: int, **changes: Any) -> Pilot:
    settings = {
        "node": "rewrite",
        "key": "k",
        "source": "s",
        "total": total,
        "sampled": list(costs),
        "costs": costs,
        "speed": Speed(1000.0, 8),
        "price": Price(per_hour=3.6),
    }
    return Pilot(**{**settings, **changes})


def drawn(chance: random.Random) -> Cost:
    """A row as real ones are: a long tail, and now and then a second try."""
    tries = 1 + (chance.random() < 0.1)
    return Cost(tries, 200 * tries, sum(round(chance.lognormvariate(5.5, 0.7)) for _ in range(tries)))


def test_a_pilot_of_all_rows_is_exact() -> None:
    costs = {str(at): Cost(1, 100, 10 + at) for at in range(10)}
    (found,), whole = forecast([pilot(costs, 10)])
    assert found.measures["completion_tokens"] == Estimate(145, 145, 145)
    assert found.measures["rows"] == Estimate(10, 10, 10)
    assert found.measures["hours"].mean == pytest.approx(145 / 1000 / 3600)
    assert whole["dollars"].mean == pytest.approx(145 / 1000 / 1000)


def test_nine_intervals_in_ten_hold_what_comes() -> None:
    chance, total, inside = random.Random(1), 2000, 0
    for _ in range(200):
        population = [drawn(chance) for _ in range(total)]
        (found,), _ = forecast([pilot({str(at): cost for at, cost in enumerate(population[:50])}, total)])
        low, _, high = found.measures["completion_tokens"]
        inside += low <= sum(cost.completion_tokens for cost in population) <= high
    assert 0.85 <= inside / 200 <= 0.95


def test_how_many_rows_get_through_is_part_of_a_later_stages_interval() -> None:
    first = {str(at): Cost(1, 100, 50) for at in range(40)}
    later = {row: Cost(1, 100, 50) for row in list(first)[:10]}
    (early, late), whole = forecast(
        [pilot(first, 4000, node="curate"), pilot(later, 4000, node="rewrite", sampled=list(first))]
    )
    assert early.measures["rows"] == Estimate(4000, 4000, 4000)
    low, mean, high = late.measures["rows"]
    assert mean == 1000
    spread = 1.645 * 4000 * math.sqrt(0.25 * 0.75 / 40)
    assert high - low == pytest.approx(2 * spread, rel=0.2)
    nearly = {row: Cost(1, 100, 50) for row in list(first)[:39]}
    (all_but_one,), _ = forecast([pilot(nearly, 60, sampled=list(first))])
    assert all_but_one.measures["rows"].high <= 60, "no more rows than there are"
    assert whole["hours"].mean == pytest.approx(5000 * 50 / 1000 / 3600)


def test_prices_by_the_token_and_by_the_hour_add_up_and_without_one_nothing_is_said() -> None:
    costs = {str(at): Cost(1, 1000, 100) for at in range(10)}
    price = Price(per_hour=36, per_million_prompt_tokens=2, per_million_completion_tokens=5)
    (found,), _ = forecast([pilot(costs, 1000, price=price)])
    assert found.measures["dollars"].mean == pytest.approx(2 + 0.5 + 1000 * 100 / 1000 / 3600 * 36)
    (free,), whole = forecast([pilot(costs, 1000, price=None)])
    assert "dollars" not in free.measures
    assert "dollars" not in whole
    (slow,), _ = forecast([pilot(costs, 1000, speed=None)])
    assert slow.measures.keys().isdisjoint({"hours", "dollars"})


def test_the_same_rows_are_sampled_each_time_and_a_larger_pilot_holds_them() -> None:
    some = [row.id for row in sample(rows(500), 20, 0)]
    assert some == [row.id for row in sample(reversed(rows(500)), 20, 0)]
    assert set(some) < {row.id for row in sample(rows(500), 50, 0)}
    assert set(some) != {row.id for row in sample(rows(500), 20, 1)}


def test_the_speed_is_that_of_the_full_endpoint_not_of_the_pilots_end() -> None:
    waves = [Span(wave, wave + 1, 100) for wave in range(5) for _ in range(4)]
    assert speed(waves, told=True) == Speed(400, 4)
    assert speed([*waves, Span(4, 60, 100)], told=True) == Speed(pytest.approx(400, rel=0.02), 4)
    together = [Span(0, 1, 100), Span(0, 2, 200), Span(0, 4, 400)]
    assert speed(together, told=True) == Speed(300, 3)
    assert speed([Span(0, 2, 100), Span(0, 4, 100)], told=False) == Speed(50, 2)
    assert speed([], told=True) is None


def test_a_forecast_is_kept_for_the_settings_that_it_was_made_for(tmp_path: Path) -> None:
    (found,), _ = forecast([pilot({str(at): Cost(1, 100, 10) for at in range(5)}, 50)])
    save(tmp_path, "k", found)
    kept = load(tmp_path, "k")
    assert kept is not None
    assert kept["measures"]["rows"] == [50, 50, 50]
    assert load(tmp_path, "other") is None
    (tmp_path / "forecast.json").write_text("[torn")
    assert load(tmp_path, "k") is None


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (12, "12"),
        (9999, "9,999"),
        (12345, "12.3 k"),
        (1.5e6, "1.5 M"),
        (2.34, "2.34"),
        (0.0042, "0.004"),
    ],
)
def test_numbers_are_short(value: float, text: str) -> None:
    assert brief(value) == text


def test_an_interval_is_shown_where_there_is_one() -> None:
    assert shown(Estimate(1, 2, 3)) == "2 (1 to 3)"
    assert shown(Estimate(2, 2, 2)) == "2"
    assert shown(None) == "-"


@contextmanager
def talking() -> Iterator[FaultServer]:
    """A server that answers each stage by the room that it gives, with random lengths."""
    with serving(slots=SLOTS, seconds=SECONDS) as server:
        server.about = {"model_id": BASE, "router": "t"}

        async def answer(request: web.Request, body: dict[str, Any]) -> web.Response:
            content = f"{body['messages'][0]['content']} {body['seed']}"
            draw = int.from_bytes(hashlib.sha256(content.encode()).digest()[:2])
            words = 5 + draw % 40
            text = {
                48: "" if draw % 5 == 0 else f"What is it about number {draw} that people say so often?",
                16: f"Score: {5 if draw % 2 else 1}",
                64: f"[RES] It says that {draw} people came, {'and more ' * 3} [/RES]",
            }[body["max_tokens"]]
            message = {"role": "assistant", "content": text}
            usage = {"prompt_tokens": len(content.split()), "completion_tokens": words, "total_tokens": 0}
            return web.json_response(
                {"choices": [{"message": message, "finish_reason": "stop"}], "usage": usage}
            )

        server._answer = answer  # type: ignore[method-assign]
        yield server


def recipe(folder: Path, hub: HubAddress, name: str, url: str, **stages: Any) -> Path:
    write_lines(folder / "corpus.jsonl", documents(60))
    endpoint = {"model": BASE, "url": url, "price": {"per_hour": 2.0}}
    content = {
        "name": name,
        "namespace": "demo",
        "work": str(folder / "work"),
        "hub": {"endpoint": "embedded", "store": str(hub.store), "port": 0},
        "endpoints": {"backward": endpoint, "forward": endpoint, "rewriter": endpoint},
        "stages": {
            "responses": {"reads": {"base": BASE}, "source": "corpus.jsonl", "license": "cc0-1.0"},
            "backtranslate": {"max_new_tokens": 48},
            "curate": {"max_new_tokens": 16},
            "rewrite": {"max_new_tokens": 64},
            "report": {"reads": ["responses", "backtranslate", "curate", "rewrite"]},
            **stages,
        },
    }
    return write_recipe(folder, content)


def lines(output: str) -> dict[str, str]:
    """The lines of the forecast, by stage."""
    table = output[output.index("forecast ") :]
    return {line.split()[0]: line for line in table.splitlines() if line.strip()}


@pytest.mark.timeout(300)
def test_a_pilot_forecasts_the_chain_and_the_run_uses_its_answers_and_reports_the_fact(
    tmp_path: Path, hub: HubAddress
) -> None:
    with talking() as server:
        path = recipe(tmp_path, hub, "piloted", server.url)
        early = backforth(hub, "plan", str(path), "--pilot", "20")
        assert "backtranslate: no forecast: it reads responses, which is not there yet" in early.stdout
        assert server.requests.total() == 0
        assert backforth(hub, "run", str(path), "--only", "responses").returncode == 0

        planned = backforth(hub, "plan", str(path), "--pilot", "20")
        assert planned.returncode == 0, planned.stderr
        found = lines(planned.stdout)
        assert set(found) >= {"backtranslate", "curate", "rewrite", "all"}
        assert re.search(r"backtranslate +60 ", found["backtranslate"])
        assert re.search(r"rewrite +\d+ \(\d+ to \d+\)", found["rewrite"])
        pace = float(re.findall(r"([\d,]+) \(\d+ at once\)", found["backtranslate"])[0].replace(",", ""))
        assert pace == pytest.approx(SLOTS / SECONDS * 24.5, rel=0.35)
        asked = server.requests.total()
        assert asked <= 20 * (2 + 1 + 3)

        again = backforth(hub, "plan", str(path), "--pilot", "20")
        assert lines(again.stdout) == found, "the same rows, the same answers, and the speed from before"
        assert server.requests.total() == asked

        done = backforth(hub, "run", str(path))
        assert done.returncode == 0, done.stderr
    facts = client(
        hub,
        """
import json
from huggingface_hub import DatasetCard, hf_hub_download
def run(name):
    path = hf_hub_download(f"demo/piloted-{name}", "provenance.json", repo_type="dataset")
    return json.load(open(path))["predicate"]["runDetails"]
names = ["backtranslated", "curated", "rewritten"]
card = DatasetCard.load("demo/piloted-report")
print(json.dumps({"runs": [run(name) for name in names], "card": card.text}))
""",
    )
    text = str(facts["runs"])
    requests = [int(value) for value in re.findall(r"'generation': {'requests': (\d+)", text)]
    assert sum(requests) == server.requests.total(), "nothing was asked twice"
    assert text.count("'forecast': {'pilot': ") == 3
    assert "The forecast beside the fact" in facts["card"]
    rows_of = re.findall(r"\| `(\w+)` \| `requests` \| .* \| (yes|no) \|", facts["card"])
    assert [node for node, _ in rows_of] == ["backtranslate", "curate", "rewrite"]
    assert {inside for _, inside in rows_of} == {"yes"}
    assert "| `dollars` |" in facts["card"]


def test_a_stage_whose_model_is_yet_to_be_trained_says_so(tmp_path: Path, hub: HubAddress) -> None:
    with talking() as server:
        write_lines(tmp_path / "trees.jsonl", [])
        path = recipe(
            tmp_path,
            hub,
            "untrained",
            server.url,
            seed={"source": "trees.jsonl"},
            **{"train-backward": {"reads": {"base": BASE}}},
        )
        change = "endpoints.backward.model=train-backward"
        done = backforth(hub, "plan", str(path), "--pilot", "5", "--set", change)
    assert done.returncode == 0, done.stderr
    assert (
        "backtranslate: no forecast: its answers come from train-backward, which is yet to be" in done.stdout
    )
    assert "curate: no forecast: it reads backtranslate, which is not there yet" in done.stdout
    assert server.requests.total() == 0
