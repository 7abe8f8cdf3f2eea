"""Gathers the facts that a node's card states: sources, licences, models, lineage, examples, cost."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from dataset_cards.facts import (
    Changes,
    Config,
    Cost,
    DatasetFacts,
    Example,
    Funnel,
    Lineage,
    ModelFacts,
    ModelUse,
    Step,
)
from hub_tools.columns import arrow_schema
from hub_tools.hub.lineage import Link, Walker, arrows
from hub_tools.hub.provenance import versions
from hub_tools.hub.repository import Hub, Ref
from hub_tools.meanings import meanings
from hub_tools.prompts import Prompts
from hub_tools.recipe import Recipe
from hub_tools.records import Rejected, Rewritten
from hub_tools.run.graph import Graph
from hub_tools.run.inputs import shards
from hub_tools.run.outcome import Made
from hub_tools.run.pinning import Pinner, settings
from hub_tools.run.publishing.made_of import MadeOf
from hub_tools.stages.quality import TokenCounter
from hub_tools.stages.registry import AskConfig

DESCRIPTIONS = {
    "kept": "The rows that passed the judge.",
    "rejected": "The input rows that were not passed on, each with its reason.",
}
TOKENIZER = "tokenizer.json"
COUNTS = {
    "pairs": "training pairs",
    "dropped": "pairs left out of the training",
    "truncated": "pairs cut to fit",
    "held out": "pairs held out",
    "tokens": "tokens trained on, prompts included",
}


class Facts:
    """Knows everything about the nodes of one recipe that their cards say."""

    def __init__(self, recipe: Recipe, graph: Graph, hub: Hub, prompts: Prompts, pinner: Pinner) -> None:
        self._recipe = recipe
        self._graph = graph
        self._hub = hub
        self._prompts = prompts
        self._pinner = pinner
        self._walker = Walker(hub)
        self.made_of = MadeOf(hub, self._walker)

    def of(self, made: Made, version: str, changes: Changes | None) -> DatasetFacts | ModelFacts:
        """Return all facts of what a node made, to be published as `version`."""
        common = self._common(made, version, changes)
        if made.model:
            return ModelFacts(**common, **self._model_facts(made))
        return DatasetFacts(**common, **self._dataset_facts(made))

    def _common(self, made: Made, version: str, changes: Changes | None) -> dict[str, Any]:
        model_notes = made.model.notes if made.model else ()
        return {
            "repo": made.node.repo,
            "version": version,
            "fingerprint": made.pinned.fingerprint,
            "node": made.node.name,
            "stage": made.node.stage.name,
            "summary": made.node.stage.description,
            "settings": made.model.settings if made.model else settings(made.node),
            "sources": self.made_of.sources(made),
            "license": self.made_of.license(made),
            "licenses": self.made_of.licenses(made),
            "origins": self.made_of.origins(made),
            "languages": self._recipe.file.languages,
            "lineage": self._lineage(made, version),
            "changes": changes,
            "notes": [*self._recipe.file.notes, *made.extras.notes, *model_notes],
            "seconds": made.seconds,
            "published": f"{made.started:%Y-%m-%d}",
            "software": versions(),
        }

    def _model_facts(self, made: Made) -> dict[str, Any]:
        assert made.model is not None
        base = made.pinned.refs.get("base")
        return {
            "base": base.repo if base else made.model.base,
            "base_sha": base.sha if base else None,
            "relation": made.model.relation,
            "method": made.model.method,
            "library": made.model.library,
            "losses": made.model.losses,
            "counts": {COUNTS.get(what, what): number for what, number in made.model.counts.items()},
            "example_prompt": made.model.example_prompt,
            "chat": "chat_template.jinja" in made.files,
            "parameters": made.model.parameters,
            "held_out": made.model.held_out,
            "samples": [_sample(sample) for sample in made.model.samples],
        }

    def _dataset_facts(self, made: Made) -> dict[str, Any]:
        lengths, tokenizer = self._lengths(made)
        return {
            "configs": self._configs(made),
            "funnel": Funnel(
                read=made.read, kept=made.kept, rejects=dict(made.rejects), details=made.reject_details
            ),
            "statistics": made.statistics.table(),
            "examples": self._examples(made),
            "scores": made.statistics.scores,
            "lengths": lengths,
            "tokenizer": tokenizer,
            "prompts": self._prompts.texts(made.node.stage.prompts),
            "models": self._models(made),
            "cost": self._cost(made),
            "synthetic": made.pinned.model is not None or made.node.stage.name == "mix",
            "pictures": made.extras.pictures,
            "body": made.extras.body,
        }

    def _configs(self, made: Made) -> list[Config]:
        stage = made.node.stage
        assert isinstance(stage.writes, type)
        return [
            Config(
                name=name,
                description=DESCRIPTIONS.get(name, stage.summary),
                rows=rows,
                bytes=sum(
                    p.stat().st_size for path, p in made.files.items() if path.startswith(f"data/{name}/")
                ),
                features=_features(Rejected if name == "rejected" else stage.writes),
                meanings=meanings(Rejected if name == "rejected" else stage.writes),
                default=name == stage.config_name,
            )
            for name, rows in made.rows.items()
        ]

    def _models(self, made: Made) -> list[ModelUse]:
        model, config = made.pinned.model, made.node.config
        if model is None or not isinstance(config, AskConfig):
            return []
        sampling = {
            "temperature": config.temperature,
            "top_p": config.top_p,
            "max_new_tokens": config.max_new_tokens,
            "seed": self._recipe.file.seed,
        }
        return [
            ModelUse(
                role=made.node.asks or "",
                repo=model.repo,
                sha=model.sha,
                license=self.made_of.license_of(model),
                sampling=sampling,
            )
        ]

    def _cost(self, made: Made) -> Cost | None:
        if made.spent is None:
            return None
        return Cost(
            requests=made.spent.requests,
            prompt_tokens=made.spent.prompt_tokens,
            completion_tokens=made.spent.completion_tokens,
            seconds=made.seconds,
        )

    def _lengths(self, made: Made) -> tuple[Any, str]:
        """Count the sampled pairs' tokens by one tokenizer for the whole recipe, that of its first model."""
        model = self._pinner.first_model()
        if model is None or not made.statistics.sample:
            return None, ""
        folder = self._hub.fetch(model, [TOKENIZER])
        if not (folder / TOKENIZER).is_file():
            return None, ""
        return made.statistics.lengths(TokenCounter(folder)), model.name

    def _examples(self, made: Made) -> list[Example]:
        """Return the examples, each beside what a sibling made of the same row: rewritten and distilled."""
        examples = made.statistics.examples
        if made.node.stage.writes is not Rewritten:
            return examples
        label = _label(made.node.stage.name)
        own = [
            dataclasses.replace(
                example,
                columns={label if k == "rewritten" else k: v for k, v in example.columns.items()},
            )
            for example in examples
        ]
        for name, ref in self._siblings(made).items():
            found = self._texts(ref, name, {example.id for example in own})
            own = [
                dataclasses.replace(example, columns={**example.columns, _label(name): found[example.id]})
                if example.id in found
                else example
                for example in own
            ]
        ordered = [
            dataclasses.replace(example, columns=dict(sorted(example.columns.items(), key=_place)))
            for example in own
        ]
        return sorted(ordered, key=lambda example: -len(example.columns))

    def _siblings(self, made: Made) -> Mapping[str, Ref]:
        """Return the published nodes that answer the very same pairs: stage to repo."""
        return {
            node.stage.name: self._pinner.published[node.name]
            for node in self._graph.nodes.values()
            if node.name != made.node.name
            and node.stage.writes is Rewritten
            and node.stage.name != made.node.stage.name
            and node.reads == made.node.reads
            and node.name in self._pinner.published
        }

    def _texts(self, ref: Ref, stage: str, wanted: set[str]) -> dict[str, str]:
        """Return the responses of some rows of a sibling, by id."""
        import pyarrow.parquet as pq

        config = next(
            node.stage.config_name for node in self._graph.nodes.values() if node.stage.name == stage
        )
        found: dict[str, str] = {}
        for shard in shards(self._hub, ref, config):
            for batch in pq.ParquetFile(shard).iter_batches(columns=["id", "response"]):
                found |= {row["id"]: row["response"] for row in batch.to_pylist() if row["id"] in wanted}
        return found

    def _lineage(self, made: Made, version: str) -> Lineage:
        """Return the drawing's facts: all before this node, and this node, whose commit is still to come."""
        parents, links = self._walker.together(self.made_of.dependencies(made))
        key = f"{made.node.repo}@{version}"
        rows = f"{made.kept:,} of {made.read:,} rows" if made.read else ""
        own = Step(
            key=key,
            title=made.node.name,
            lines=[line for line in (made.node.repo, f"{version} · this version", rows) if line],
            kind=made.node.kind,
        )
        last = dict.fromkeys((parent, key) for _, parent in parents)
        return Lineage(steps=[*map(step, links.values()), own], arrows=[*arrows(links.values()), *last])


def _sample(sample: Mapping[str, str]) -> Example:
    columns = {key: text for key, text in sample.items() if key not in ("id", "prompt")}
    return Example(id=sample["id"], head={"prompt": sample["prompt"]}, columns=columns)


def step(link: Link, address: str | None = None) -> Step:
    """Return a link of a lineage as the drawing takes it; `address` is where a click leads."""
    if link.ref is None:
        return Step(
            key=link.key, title=link.title, lines=[f"sha256 {link.key.partition('#')[2]}…"], kind="file"
        )
    lines = [
        link.ref.repo,
        f"{link.ref.version} · {link.ref.sha[:12]}" if link.ref.version else link.ref.sha[:12],
    ]
    kind = link.ref.kind if link.statement else "foreign"
    return Step(
        key=link.key, title=link.title, lines=[*lines, *filter(None, [link.rows])], kind=kind, link=address
    )


def _place(column: tuple[str, str]) -> int:
    """Return the place of a column among those side by side: as the text was made."""
    order = ("web text", "rewritten", "distilled")
    return order.index(column[0]) if column[0] in order else len(order)


def _label(stage: str) -> str:
    return {"rewrite": "rewritten", "distill": "distilled"}.get(stage, stage)


def _features(record: type) -> list[dict[str, object]]:
    from datasets import Features

    return list(Features.from_arrow_schema(arrow_schema(record))._to_yaml_list())
