"""Cards from templates: the Jinja environment, and the small shapes that templates cannot make themselves."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from dataset_cards import escape, frontmatter, kept, licenses
from dataset_cards.facts import Common, Config, Funnel
from dataset_cards.numbers import count, duration, share, size

_NAMED = 4  # fields of a struct that its type names


def render(template: str, **values: object) -> str:
    """Return the text of a template, with runs of blank lines outside code blocks as one."""
    text = _environment().get_template(template).render(**values)
    return _tidied(text).strip("\n") + "\n"


@cache
def _environment() -> Environment:
    """Return the environment in which every template of this package is read."""
    environment = Environment(  # noqa: S701 - Markdown, not HTML: each value goes through a filter of escape.py
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for of_text in ("inline", "code", "cell", "prose", "fenced", "folded", "lines", "plain"):
        environment.filters[of_text] = getattr(escape, of_text)
    environment.filters |= {"count": count, "share": share, "duration": duration, "size": size}
    environment.filters |= {"literal": literal, "flat": flat, "path": quote, "quoted": shlex.quote}
    environment.filters |= {"page": frontmatter.page}
    environment.filters |= {"slug": slug, "bib": bib}
    environment.filters |= {"asks": licenses.asks, "address": escape.address}
    environment.globals |= {"keep_start": kept.START, "keep_end": kept.END, "keep_hint": kept.PLACEHOLDER}
    return environment


def _tidied(text: str) -> str:
    """Return the text with at most one blank line in a row; code blocks keep theirs."""
    lines: list[str] = []
    fence = ""
    for line in text.split("\n"):
        ticks = re.match(r"`{3,}", line)
        if fence:
            fence = "" if line == fence else fence
        elif ticks:
            fence = ticks.group()
        elif not line.strip() and lines and not lines[-1]:
            continue
        lines.append(line if fence or line.strip() else "")
    return "\n".join(lines)


def common(facts: Common) -> dict[str, object]:
    """Return what the templates of both kinds of card need beside the facts."""
    return {"facts": facts, "name": facts.repo.rsplit("/", 1)[-1], "settings": flat(facts.settings)}


def terms(facts: Common, written: Sequence[str | None] = ()) -> dict[str, object]:
    """Return what the section on licences says; `written` are those of the models that wrote the text."""
    stated = list(facts.licenses) or [name or "" for name in [*(s.license for s in facts.sources), *written]]
    involved = [*stated, *(origin.license for origin in facts.origins), *(name for name in written if name)]
    return {
        "reason": licenses.reason(facts.license, stated) if stated else "",
        "limits": licenses.use_limits(involved or [facts.license]),
        "conflicts": licenses.conflicts(involved),
    }


def funnel_rows(funnel: Funnel) -> list[tuple[str, int, str]]:
    """Return the funnel's reject reasons: reason, rows, what is said of one of them; the commonest first."""
    rejects = sorted(funnel.rejects.items(), key=lambda item: (-item[1], item[0]))
    return [(reason, rows, funnel.details.get(reason, "")) for reason, rows in rejects if rows]


def column_tables(configs: Sequence[Config]) -> list[tuple[list[str], list[tuple[str, str, str]]]]:
    """Return tables of columns (name, type, meaning), each with the names of the configs that it is for."""
    tables: list[tuple[list[str], Sequence[Mapping[str, object]], list[tuple[str, str, str]]]] = []
    for config in configs:
        like = next((names for names, features, _ in tables if features == config.features), None)
        if like is not None:
            like.append(config.name)
            continue
        rows = [
            (str(feature["name"]), column_type(feature), config.meanings.get(str(feature["name"]), ""))
            for feature in config.features
        ]
        tables.append(([config.name], config.features, rows))
    return [(names, rows) for names, _, rows in tables]


def column_type(feature: Mapping[str, object]) -> str:
    """Return a column's type as people read it, such as `string` or `list of {role, content}`."""
    for key, form in (("dtype", "{}"), ("list", "list of {}"), ("struct", "{}")):
        inner = feature.get(key)
        if isinstance(inner, str):
            return form.format(inner)
        if isinstance(inner, Mapping):
            return form.format(column_type(inner))
        if isinstance(inner, Sequence):
            names = [str(part["name"]) for part in inner]
            return form.format(f"{{{', '.join(names)}}}" if len(names) <= _NAMED else "struct")
    return ""


def pivoted(statistics: Sequence[tuple[str, str, str]]) -> list[tuple[list[str], dict[str, list[str]]]]:
    """Return tables of values by column, one for all columns that have the same measures."""
    columns: dict[str, dict[str, str]] = {}
    for column, what, value in statistics:
        columns.setdefault(column, {})[what] = value
    tables: dict[tuple[str, ...], dict[str, list[str]]] = {}
    for column, found in columns.items():
        tables.setdefault(tuple(found), {})[column] = list(found.values())
    return [(list(measures), rows) for measures, rows in tables.items()]


def flat(settings: Mapping[str, object], prefix: str = "") -> dict[str, str]:
    """Return nested settings as dotted names and short texts, in their own order."""
    found: dict[str, str] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping) and value:
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = escape.folded("" if value is None else str(value), 200)
    return found


def slug(text: str) -> str:
    """Return the text as a part of a BibTeX key."""
    return re.sub(r"[^A-Za-z0-9.]+", "-", text).strip("-")


def bib(text: str) -> str:
    """Return the text for a BibTeX field: a name of a repo or a version, in which TeX finds no commands."""
    return re.sub(r"([_&%$#])", r"\\\1", re.sub(r"[^\w ./@:-]", "", text, flags=re.ASCII))


def literal(text: str) -> str:
    """Return the text as a Python literal of printable ASCII in double quotes where it can be."""
    found = ascii(text)
    return f'"{found[1:-1]}"' if found[0] == "'" and '"' not in found and "\\'" not in found else found
