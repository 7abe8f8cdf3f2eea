"""Publishes what a node made: data or model, card, provenance and recipe in one commit, then the tags."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dataset_cards.dataset import dataset_card
from dataset_cards.facts import Config, Cost, DatasetFacts, Funnel, ModelFacts, ModelUse, Source
from dataset_cards.kept import keep
from dataset_cards.licenses import combined
from dataset_cards.model import model_card
from hub_tools.columns import arrow_schema
from hub_tools.hub import provenance
from hub_tools.hub.repository import PROVENANCE, Hub, Ref
from hub_tools.prompts import Prompts
from hub_tools.recipe import Recipe
from hub_tools.records import Rejected
from hub_tools.run.outcome import Made
from hub_tools.run.pinning import settings
from hub_tools.stages.registry import AskConfig

DESCRIPTIONS = {
    "kept": "The rows that passed the judge.",
    "rejected": "The input rows that were not passed on, each with its reason.",
}


class Publisher:
    """Publishes the nodes of one recipe."""

    def __init__(self, recipe: Recipe, hub: Hub, prompts: Prompts) -> None:
        self._recipe = recipe
        self._hub = hub
        self._prompts = prompts
        self._licenses: dict[str, str | None] = {}

    def publish(self, made: Made) -> tuple[Ref, Mapping[str, Any]]:
        """Publish one version of a node's repo; return it with its provenance statement."""
        statement: dict[str, Any] = {}
        node = made.node

        def files(version: str, previous: str | None) -> Mapping[str, Path | bytes]:
            license_name, _ = combined(self._found_licenses(made))
            content: dict[str, Path | bytes] = {**made.files, **made.extras.pictures}
            content["README.md"] = keep(previous, self._card(made, version, license_name)).encode()
            content["recipe.yaml"] = self._recipe.public().encode()
            statement.update(self._statement(made, content, license_name))
            content[PROVENANCE] = provenance.to_bytes(statement)
            return content

        message = (
            f"{node.name}: {made.kept} of {made.read} rows"
            if node.kind == "dataset"
            else f"{node.name}: model"
        )
        ref = self._hub.publish(node.repo, node.kind, made.pinned.fingerprint, files, message)
        return ref, statement or self._hub.read_json(ref, PROVENANCE) or {}

    def _statement(
        self, made: Made, content: Mapping[str, Path | bytes], license_name: str
    ) -> dict[str, Any]:
        return provenance.statement(
            node=made.node.name,
            stage=made.node.stage.name,
            stage_version=made.node.stage.version,
            fingerprint=made.pinned.fingerprint,
            parameters={
                "settings": settings(made.node),
                "prompts": self._prompts.texts(made.node.stage.prompts),
                "seed": self._recipe.file.seed if isinstance(made.node.config, AskConfig) else None,
            },
            dependencies=self._dependencies(made),
            files=content,
            started=made.started,
            run=made.record(license_name),
        )

    def _dependencies(self, made: Made) -> list[dict[str, Any]]:
        refs = {**made.pinned.refs, **({"model": made.pinned.model} if made.pinned.model else {})}
        return [
            *({"name": name, "uri": ref.uri, "digest": {"gitCommit": ref.sha}} for name, ref in refs.items()),
            *(
                {"name": "source", "uri": file.name, "digest": {"sha256": file.sha256}}
                for file in made.pinned.files
            ),
        ]

    def _card(self, made: Made, version: str, license_name: str) -> str:
        if made.model:
            return model_card(
                ModelFacts(**self._common(made, version, license_name), **self._model_facts(made))
            )
        return dataset_card(
            DatasetFacts(**self._common(made, version, license_name), **self._dataset_facts(made))
        )

    def _common(self, made: Made, version: str, license_name: str) -> dict[str, Any]:
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
            "license": license_name,
            "licenses": self._found_licenses(made),
            "languages": self._recipe.file.languages,
            "notes": [*self._recipe.file.notes, *made.extras.notes, *model_notes],
            "seconds": made.seconds,
        }

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
        }

    def _dataset_facts(self, made: Made) -> dict[str, Any]:
        return {
            "configs": self._configs(made),
            "funnel": Funnel(read=made.read, kept=made.kept, rejects=dict(made.rejects)),
            "statistics": made.statistics.table(),
            "examples": made.statistics.examples,
            "prompts": self._prompts.texts(made.node.stage.prompts),
            "models": self._models(made),
            "cost": self._cost(made),
            "synthetic": made.pinned.model is not None or made.node.stage.name == "mix",
            "pictures": [(path, Path(path).stem.replace("_", " ")) for path in made.extras.pictures],
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

    def _found_licenses(self, made: Made) -> list[str]:
        """Return every licence among the rows, the datasets they come from, and the model that wrote the
        text.

        A model that a data stage only measures with (its tokenizer) lends no words; a training's base does.
        """
        refs = [ref for ref in made.pinned.refs.values() if made.model or ref.kind == "dataset"]
        refs += [made.pinned.model] if made.pinned.model else []
        own = [made.model.license] if made.model and made.model.license else []
        found = [*own, *made.statistics.licenses, *(self._license_of(ref) or "unknown" for ref in refs)]
        return sorted(set(found)) or ["unknown"]

    def _rows(self, ref: Ref, config: str | None) -> int | None:
        """Return how many rows a config of an input has (all that it kept without one), if its provenance
        says so.
        """
        statement = self._hub.read_json(ref, PROVENANCE) if ref.kind == "dataset" else None
        if statement is None:
            return None
        run = provenance.run_details(statement)
        rows: int | None = run.get("rows", {}).get(config, run.get("kept"))
        return rows

    def _license_of(self, ref: Ref) -> str | None:
        if ref.uri not in self._licenses:
            self._licenses[ref.uri] = self._hub.license(ref)
        return self._licenses[ref.uri]


def _features(record: type) -> list[dict[str, object]]:
    from datasets import Features

    return list(Features.from_arrow_schema(arrow_schema(record))._to_yaml_list())
