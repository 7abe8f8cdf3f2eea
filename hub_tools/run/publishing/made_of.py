"""What a node's result is made of: its pinned inputs, and the licences that come with them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import chain
from pathlib import PurePosixPath
from typing import Any

from dataset_cards.facts import Origin, Source
from dataset_cards.licenses import combined
from hub_tools.hub.lineage import Walker
from hub_tools.hub.provenance import PACKAGE, SOURCE, Dependency, DependencyNotes
from hub_tools.hub.repository import Hub, Ref
from hub_tools.run.outcome import Made


class MadeOf:
    """Reads what nodes are made of out of their pinned inputs, and of the statements of these."""

    def __init__(self, hub: Hub, walker: Walker) -> None:
        self._hub = hub
        self._walker = walker
        self._licenses: dict[str, str | None] = {}

    def license(self, made: Made) -> str:
        """Return the licence of what a node made: the strictest of all that apply."""
        return combined(self.licenses(made))[0]

    def dependencies(self, made: Made) -> list[Dependency]:
        """Return everything that a node read."""
        found = [
            self._dependency(name, ref, made.node.reads[name].config)
            for name, ref in made.pinned.refs.items()
        ]
        if made.pinned.model:
            found.append(self._dependency("model", made.pinned.model, None))
        found += [
            Dependency(name=SOURCE, uri=file.name, digest={"sha256": file.sha256})
            for file in made.pinned.files
        ]
        packages = made.node.config.packages().items()
        return found + [Dependency(name=PACKAGE, uri=uri, digest={"sha256": sha}) for uri, sha in packages]

    def licenses(self, made: Made) -> list[str]:
        """Return every licence among the rows, all that they come from, and the models that wrote the text.

        A model that a data stage only measures with (its tokenizer) lends no words; a training's base does.
        """
        refs = [ref for ref in made.pinned.refs.values() if made.model or ref.kind == "dataset"]
        refs += [made.pinned.model] if made.pinned.model else []
        own = [made.model.license] if made.model and made.model.license else []
        inherited = chain.from_iterable(self._inherited(ref) for ref in refs)
        return sorted({*own, *made.statistics.licenses, *inherited}) or ["unknown"]

    def origins(self, made: Made) -> list[Origin]:
        """Return the corpora of the rows; of a model, those of the rows that it was trained on."""
        if not made.model:
            return made.statistics.origins
        rows: Counter[tuple[str, str]] = Counter()
        for ref in made.pinned.refs.values():
            statement = self._walker.statement(ref)
            for origin in _listed(statement.run.get("origins")) if statement else []:
                match origin:
                    case [str(source), str(name), int(count)]:
                        rows[source, name] += count
        return [Origin(source=source, license=name, rows=n) for (source, name), n in rows.most_common()]

    def sources(self, made: Made) -> list[Source]:
        """Return all that a node read, as its card lists it: inputs, the model asked, files, packages."""
        refs = [
            Source(
                name=name,
                uri=ref.uri,
                version=ref.version,
                rows=self._rows(ref, made.node.reads[name].config),
                license=self.license_of(ref),
                node=self._node(ref, made.node.reads[name].config),
            )
            for name, ref in made.pinned.refs.items()
        ]
        if model := made.pinned.model:
            refs.append(
                Source(
                    name="the model asked",
                    uri=model.uri,
                    version=model.version,
                    rows=None,
                    license=self.license_of(model),
                    node=self._node(model),
                )
            )
        stated = getattr(made.node.config, "license", None)
        files = [
            Source(
                name=PurePosixPath(file.name).name,
                uri=file.name if file.name.startswith("hf://") else f"sha256:{file.sha256}",
                version=None,
                rows=None,
                license=stated,
            )
            for file in made.pinned.files
        ]
        packages = [
            Source(
                name=uri,
                uri=f"sha256:{sha}",
                version=None,
                rows=None,
                license=stated,
            )
            for uri, sha in made.node.config.packages().items()
        ]
        return refs + files + packages

    def license_of(self, ref: Ref) -> str | None:
        """Return the licence that a repo's card names, or None."""
        if ref.uri not in self._licenses:
            self._licenses[ref.uri] = self._hub.license(ref)
        return self._licenses[ref.uri]

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
        return [self.license_of(ref) or "unknown"]

    def _node(self, ref: Ref, config: str | None = None) -> str:
        """Return the node that published a repo, and the config that is read, as recipes name them.

        It is empty where that was not backforth.
        """
        statement = self._walker.statement(ref)
        return "/".join(filter(None, [statement.node, config])) if statement else ""

    def _rows(self, ref: Ref, config: str | None) -> int | None:
        """Return how many rows a config of an input has (all that it kept without one), if that is known."""
        statement = self._walker.statement(ref) if ref.kind == "dataset" else None
        if statement is None:
            return None
        rows = statement.run.get("rows")
        found = rows.get(config) if isinstance(rows, dict) else None
        found = statement.run.get("kept") if found is None else found
        return found if isinstance(found, int) else None


def _listed(value: object) -> list[Any]:
    """Return a list of a statement, which is data from the Hub and may have any shape."""
    return value if isinstance(value, list) else []
