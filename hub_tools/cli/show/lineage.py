"""Shows a lineage."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.text import Text
from rich.tree import Tree

from dataset_cards.escape import visible
from dataset_cards.facts import Lineage
from dataset_cards.lineage import drawing
from hub_tools.cli.show import counted, plain
from hub_tools.hub.lineage import Chain, Link, arrows
from hub_tools.hub.repository import Hub
from hub_tools.run.publishing.cards import step


def print_chain(out: Console, chain: Chain) -> None:
    """Print the lineage as a tree from the repo back to the corpus; every part of it once."""
    shown: set[str] = set()

    def grow(tree: Tree, key: str, name: str) -> None:
        link = chain.links[key]
        again = key in shown
        branch = tree.add(_label(link, name, again=again))
        shown.add(key)
        if not again:
            for parent_name, parent in link.parents:
                grow(branch, parent, parent_name)

    head = chain.head
    root = Tree(_label(head, "", again=False), guide_style="dim")
    for name, parent in head.parents:
        grow(root, parent, name)
    out.print(root)
    ours = sum(1 for link in chain.links.values() if link.statement)
    files = sum(1 for link in chain.links.values() if link.ref is None)
    others = len(chain.links) - ours - files
    parts = [counted(ours, "repo of backforth", "repos of backforth")]
    parts += [counted(others, "repo of others", "repos of others")] if others else []
    parts += [counted(files, "source")] if files else []
    out.print(plain(", ".join(parts)))


def _label(link: Link, name: str, again: bool) -> Text:
    text = Text(f"{visible(name)}: " if name else "", style="dim")
    text.append(visible(link.title), style="bold")
    if link.ref:
        text.append(f"  {link.ref.repo}@{link.ref.revision}", style="cyan")
        if link.ref.version and not again:
            text.append(f"  {link.ref.sha[:12]}", style="dim")
    if again:
        return text.append("  (see above)", style="dim")
    if link.rows:
        text.append(f"  {link.rows}")
    if link.ends:
        text.append(f"  {visible(link.ends)}", style="yellow")
    return text


def chain_json(chain: Chain) -> list[dict[str, Any]]:
    """Return the lineage for programs: every repo and file, those that others were made of first."""
    return [
        {
            "uri": link.key,
            "node": link.statement.node if link.statement else None,
            "stage": link.statement.stage if link.statement else None,
            "version": link.ref.version if link.ref else None,
            "fingerprint": link.statement.fingerprint if link.statement else None,
            "rows": link.statement.run.get("rows") if link.statement else None,
            "made_of": [{"name": name, "uri": uri} for name, uri in link.parents],
            "ends": link.ends or None,
        }
        for link in chain.links.values()
    ]


def draw_chain(hub: Hub, chain: Chain) -> str:
    """Return the lineage as SVG, each box a link to its repo."""
    steps = [step(link, hub.url(link.ref) if link.ref else None) for link in chain.links.values()]
    return drawing(Lineage(steps=steps, arrows=arrows(chain.links.values())))
