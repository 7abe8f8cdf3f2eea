"""A repo's front page: its card, rendered, beside what is known about the revision."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.responses import RedirectResponse, Response

from hub_tools.hub.server import cards, repos, wire
from hub_tools.hub.server.http import may_see
from hub_tools.hub.server.pages.markdown import rendered
from hub_tools.hub.server.pages.render import href
from hub_tools.hub.server.pages.tables import tables
from hub_tools.hub.server.pages.visit import Visit

# What the Hub's own pages show as labels, in this order.
_LABELS = (
    ("license", "Licence"),
    ("language", "Language"),
    ("task_categories", "Task"),
    ("pipeline_tag", "Task"),
    ("library_name", "Library"),
    ("size_categories", "Size"),
    ("base_model", "Base model"),
    ("base_model_relation", "Relation"),
    ("datasets", "Datasets"),
    ("source_datasets", "Sources"),
    ("tags", "Tags"),
)
# Labels that are names of repos, of this kind.
_NAMED = {"base_model": "model", "datasets": "dataset", "source_datasets": "dataset"}
_MAX_LABELS = 40


def card_page(visit: Visit) -> Response:
    """The card at a revision."""
    text = wire.read_card(visit.call.store.blobs, visit.tree)
    head, body = cards.split(text)
    metadata, problem = read_metadata(text)
    return visit.show(
        "card",
        tab="card",
        head=head,
        problem=problem,
        labels=_labels(visit, metadata),
        body=body.strip(),
        html=rendered(body, "", visit.at("resolve"), visit.at("blob")),
        tables=tables(metadata, visit.readable),
    )


def read_metadata(card: str) -> tuple[Mapping[str, Any], str]:
    """A card's metadata, and what is wrong with it."""
    try:
        return cards.metadata(card), ""
    except cards.CardError as error:
        return {}, str(error)


def _labels(visit: Visit, metadata: Mapping[str, Any]) -> list[tuple[str, list[tuple[str, str]]]]:
    """What the card says of itself by title: texts, each with the address of the repo that it names."""
    found = []
    for key, title in _LABELS:
        value = metadata.get(key)
        values = value if isinstance(value, list) else [value]
        texts = [str(item) for item in values if isinstance(item, (str, int, float)) and item != ""]
        if texts:
            found.append((title, [(text, _link(visit, key, text)) for text in texts[:_MAX_LABELS]]))
    return found


def _link(visit: Visit, key: str, name: str) -> str:
    """The address of a repo that a label names; empty for other labels, and for what is not to be seen."""
    if key not in _NAMED:
        return ""
    repo = repos.get(visit.db, _NAMED[key], name.partition("@")[0])
    return repo.web_path if repo and may_see(visit.call.viewer, repo) else ""


def go(visit: Visit) -> Response:
    """Lead from the form that chooses a revision to the page that it was sent from, at that revision."""
    page, path = visit.query("page"), visit.query("path")
    if page in ("tree", "blob"):
        return RedirectResponse(visit.at(page, path if path in visit.tree or page == "tree" else ""), 303)
    if page == "commits":
        return RedirectResponse(visit.at(page), 303)
    kept = {name: visit.query(name) for name in ("config", "split") if page == "viewer"}
    return RedirectResponse(
        visit.to(page, **kept) if page in ("viewer", "lineage") else href(visit.to()), 303
    )
