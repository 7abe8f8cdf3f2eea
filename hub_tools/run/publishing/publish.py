"""Publishes what a node made: data or model, card, provenance and recipe in one commit, then the tags."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dataset_cards.dataset import dataset_files
from dataset_cards.facts import Changes, DatasetFacts
from dataset_cards.model import model_files
from hub_tools.hub import provenance
from hub_tools.hub.provenance import PROVENANCE, Dependency, Statement
from hub_tools.hub.publishing import publish
from hub_tools.hub.repository import Hub, Ref
from hub_tools.prompts import Prompts
from hub_tools.recipe import Recipe
from hub_tools.run.outcome import Made
from hub_tools.run.pinning import settings
from hub_tools.run.publishing.cards import Facts
from hub_tools.run.publishing.changes import changes, record
from hub_tools.stages.registry import AskConfig, Tick

CARD = "README.md"
# What a model's licence asks to hand on with it; the published model holds its base's.
NOTICE = re.compile(r"(licen[cs]e|notice|use_policy)[\w.-]*$", re.IGNORECASE)


class Publisher:
    """Publishes the nodes of one recipe."""

    def __init__(self, recipe: Recipe, hub: Hub, prompts: Prompts, facts: Facts) -> None:
        self._recipe = recipe
        self._hub = hub
        self._prompts = prompts
        self._facts = facts

    def publish(self, made: Made, tick: Tick) -> tuple[Ref, Statement]:
        """Publish one version of a node's repo; return it with its provenance statement."""
        node = made.node

        def files(version: str, head: Ref) -> Mapping[str, Path | bytes]:
            tick(note="drawing the card")
            return self._files(made, version, head)

        def sent(done: int, total: int) -> None:
            if total:
                tick(note=f"uploaded {done / 1e6:,.1f} of {total / 1e6:,.1f} MB")

        message = (
            f"{node.name}: {made.kept} of {made.read} rows"
            if node.kind == "dataset"
            else f"{node.name}: model"
        )
        ref = publish(self._hub, node.repo, node.kind, made.pinned.fingerprint, files, message, sent)
        statement = self._hub.statement(ref)
        assert statement is not None, "it was published with its statement"
        return ref, statement

    def _files(self, made: Made, version: str, head: Ref) -> Mapping[str, Path | bytes]:
        content: dict[str, Path | bytes] = {**self._notices(made), **made.files}
        dependencies = self._facts.made_of.dependencies(made)
        found = changes(
            self._hub,
            head,
            settings(made.node),
            made.node.stage.version,
            self._seed(made),
            self._prompts.texts(made.node.stage.prompts),
            dependencies,
            content,
        )
        facts = self._facts.of(made, version, found)
        previous = self._hub.file(head, CARD)
        card = previous.read_text(encoding="utf-8", errors="replace") if previous else None
        drawn = dataset_files(facts, card) if isinstance(facts, DatasetFacts) else model_files(facts, card)
        content |= drawn
        content["recipe.yaml"] = self._recipe.public().encode()
        statement = self._statement(made, version, content, dependencies, found)
        content[PROVENANCE] = provenance.to_bytes(statement)
        return content

    def _notices(self, made: Made) -> dict[str, Path | bytes]:
        base = made.pinned.refs.get("base") if made.model else None
        if base is None:
            return {}
        names = [name for name in self._hub.names(base) if NOTICE.match(name)]
        return {**self._hub.matching(base, names)} if names else {}

    def _seed(self, made: Made) -> int | None:
        """Return the run's seed, for stages that ask a model."""
        return self._recipe.file.seed if isinstance(made.node.config, AskConfig) else None

    def _statement(
        self,
        made: Made,
        version: str,
        content: Mapping[str, Path | bytes],
        dependencies: list[Dependency],
        found: Changes | None,
    ) -> dict[str, Any]:
        return provenance.build(
            node=made.node.name,
            stage=made.node.stage.name,
            stage_version=made.node.stage.version,
            fingerprint=made.pinned.fingerprint,
            version=version,
            parameters={
                "settings": settings(made.node),
                "prompts": self._prompts.texts(made.node.stage.prompts),
                "seed": self._seed(made),
            },
            dependencies=dependencies,
            files=content,
            started=made.started,
            run={
                **made.record(),
                "license": self._facts.made_of.license(made),
                "licenses": self._facts.made_of.licenses(made),
                "changes": record(found) if found else None,
            },
        )
