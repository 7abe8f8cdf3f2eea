"""Gathers the facts that a node's card states: sources, licences, models, lineage, examples, cost."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain
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
    Origin,
    Source,
    Step,
)
from dataset_cards.licenses import combined
from hub_tools.columns import arrow_schema
from hub_tools.hub.lineage import Link, Walker, arrows
from hub_tools.hub.provenance import Dependency, DependencyNotes
from hub_tools.hub.repository import Hub, Ref
from hub_tools.prompts import Prompts
from hub_tools.recipe import Recipe
from hub_tools.records import Rejected, Rewritten
from hub_tools.run.graph import Graph
from hub_tools.run.inputs import shards
from hub_tools.run.outcome import Made
from hub_tools.run.pinning import Pinner, settings
from hub_tools.stages.quality import TokenCounter
from hub_tools.stages.registry import AskConfig

DESCRIPTIONS = {
    "kept": "The rows that passed the judge.",
    "rejected": "The input rows that were not passed on, each with its reason.",
}
TOKENIZER = "tokenizer.json"


class Facts:
    """Knows everything about the nodes of one recipe that their cards say."""

    def __init__(self, recipe: Recipe, graph: Graph, hub: Hub, prompts: Prompts, pinner: Pinner) -> None:
        self._recipe = recipe
        self._graph = graph
        self._hub = hub
        self._prompts = prompts
        self._pinner = pinner
        self._walker = Walker(hub)
        self._licenses: dict[str, str | None] = {}

    def of(self, made: Made, version: str, changes: Changes | None) -> DatasetFacts | ModelFacts:
        """Return all facts of what a node made, to be published as `version`."""
        common = self._common(made, version, changes)
        if made.model:
            return ModelFacts(**common, **self._model_facts(made))
        return DatasetFacts(**common, **self._dataset_facts(made))

    def license(self, made: Made) -> str:
        """Return the licence of what a node made: the strictest of all that apply."""
        return combined(self.licenses(made))[0]

    def licenses(self, made: Made) -> list[str]:
        """Return every licence among the rows, all that they come from, and the models that wrote the text.

        A model that a data stage only measures with (its tokenizer) lends no words; a training's base does.
        """
        refs = [ref for ref in made.pinned.refs.values() if made.model or ref.kind == "dataset"]
        refs += [made.pinned.model] if made.pinned.model else []
        own = [made.model.license] if made.model and made.model.license else []
        inherited = chain.from_iterable(self._inherited(ref) for ref in refs)
        return sorted({*own, *made.statistics.licenses, *inherited}) or ["unknown"]

    def dependencies(self, made: Made) -> list[Dependency]:
        """Return everything that a node read."""
        found = [
            self._dependency(name, ref, made.node.reads[name].config)
            for name, ref in made.pinned.refs.items()
        ]
        if made.pinned.model:
            found.append(self._dependency("model", made.pinned.model, None))
        return found + [
            Dependency(name="source", uri=file.name, digest={"sha256": file.sha256})
            for file in made.pinned.files
        ]

    def _dependency(self, name: str, ref: Ref, config: str | None) -> Dependency:
        statement = self._walker.statement(ref)
        return Dependency(
            name=name,
            uri=ref.uri,
            digest={"gitCommit": ref.sha},
            annotations=DependencyNotes(
                config=config,
                node=statement.node if statement else None,
                statement=statement.sha256 if statement else None,
            ),
        )

    def _inherited(self, ref: Ref) -> Sequence[str]:
        """Return all licences that a repo carries: what its statement lists, else what its card names."""
        statement = self._walker.statement(ref)
        listed = statement.run.get("licenses") if statement else None
        if isinstance(listed, list) and listed:
            return [str(name) for name in listed]
        return [self._license_of(ref) or "unknown"]

    def _license_of(self, ref: Ref) -> str | None:
        if ref.uri not in self._licenses:
            self._licenses[ref.uri] = self._hub.license(ref)
        return self._licenses[ref.uri]

    def _common(self, made: Made, version: str, changes: Changes | None) -> dict[str, Any]:
        model_notes = made.model.notes if made.model else ()
        return {
            "repo": made.node.repo,
            "version": version,
            "fingerprint": made.pinned.fingerprint,
            "node": made.node.name,
            "stage": made.node.stage.name,
            "summary": made.node.stage.summary,
            "settings": made.model.settings if made.model else settings(made.node),
            "sources": self._sources(made),
            "license": self.license(made),
            "licenses": self.licenses(made),
            "origins": self._origins(made),
            "languages": self._recipe.file.languages,
            "lineage": self._lineage(made, version),
            "changes": changes,
            "notes": [*self._recipe.file.notes, *made.extras.notes, *model_notes],
            "seconds": made.seconds,
        }

    def _origins(self, made: Made) -> list[Origin]:
        """Return the corpora of the rows; of a model, those of the rows that it was trained on."""
        if not made.model:
            return made.statistics.origins
        rows: Counter[tuple[str, str]] = Counter()
        for ref in made.pinned.refs.values():
            statement = self._walker.statement(ref)
            for source, name, count in statement.run.get("origins", []) if statement else []:
                rows[source, name] += count
        return [Origin(source=source, license=name, rows=n) for (source, name), n in rows.most_common()]

    def _model_facts(self, made: Made) -> dict[str, Any]:
        assert made.model is not None
        base = made.pinned.refs.get("base")
        return {
            "base": base.repo if base else None,
            "base_sha": base.sha if base else None,
            "relation": made.model.relation,
            "method": made.model.method,
            "library": made.model.library,
            "losses": made.model.losses,
            "counts": made.model.counts,
            "example_prompt": made.model.example_prompt,
            "parameters": made.model.parameters,
            "held_out": made.model.held_out,
            "samples": [_sample(sample) for sample in made.model.samples],
        }

    def _dataset_facts(self, made: Made) -> dict[str, Any]:
        lengths, tokenizer = self._lengths(made)
        return {
            "configs": self._configs(made),
            "funnel": Funnel(read=made.read, kept=made.kept, rejects=dict(made.rejects)),
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
        }
        return [
            ModelUse(
                role=made.node.asks or "",
                repo=model.repo,
                sha=model.sha,
                license=self._license_of(model),
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

    def _sources(self, made: Made) -> list[Source]:
        refs = [
            Source(
                name=name,
                uri=ref.uri,
                version=ref.version,
                rows=self._rows(ref, made.node.reads[name].config),
                license=self._license_of(ref),
            )
            for name, ref in made.pinned.refs.items()
        ]
        files = [
            Source(name=file.name, uri=f"sha256:{file.sha256}", version=None, rows=None, license=None)
            for file in made.pinned.files
        ]
        return refs + files

    def _rows(self, ref: Ref, config: str | None) -> int | None:
        """Return how many rows a config of an input has (all that it kept without one), if that is known."""
        statement = self._walker.statement(ref) if ref.kind == "dataset" else None
        if statement is None:
            return None
        rows: int | None = statement.run.get("rows", {}).get(config, statement.run.get("kept"))
        return rows

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
        return own

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
        parents, links = self._walker.together(self.dependencies(made))
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


def _label(stage: str) -> str:
    return {"rewrite": "rewritten", "distill": "distilled"}.get(stage, stage)


def _features(record: type) -> list[dict[str, object]]:
    from datasets import Features

    return list(Features.from_arrow_schema(arrow_schema(record))._to_yaml_list())
