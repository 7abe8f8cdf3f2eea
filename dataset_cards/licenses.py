"""Which licence a work has that is made of works under several licences."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from dataset_cards.terms import FAMILIES, LINKS, UNKNOWN, UNSTATED

# From the freest to the strictest, with what each asks of those who use the work.
TERMS = {name: family.asks for family in FAMILIES for name in family.ids.split()}
# Every id that the Hub's `license` key takes beside those; `eupl-1.2` it does not take.
_OTHER_IDS = "c-uda cc lppl-1.3c ofl-1.1 other unknown"
HUB_IDS = (frozenset(TERMS) | frozenset(_OTHER_IDS.split())) - {"eupl-1.2"}
_ALIASES = {
    "cc0": "cc0-1.0",
    "mit-license": "mit",
    "apache2": "apache-2.0",
    "apache-license-2.0": "apache-2.0",
    "odc-by-1.0": "odc-by",
    "odc-by-v1.0": "odc-by",
    "llama-2": "llama2",
    "llama-3": "llama3",
    "llama-3.1": "llama3.1",
    "llama-3.2": "llama3.2",
    "llama-3.3": "llama3.3",
    "creativecommons.org/publicdomain/zero/1.0": "cc0-1.0",
    "opendatacommons.org/licenses/by/1-0": "odc-by",
}
_URL = re.compile(r"https?://[!-~]+")
_UNSTATED = "a licence that is not stated"
_NAMELESS = dict.fromkeys(("", "unknown", "other"), _UNSTATED)
_CC_ID = re.compile(r"cc-(by[a-z-]*)-([0-9.]+)")
_SHARE_ALIKE = "the same licence for what is made of it"
_CC_URL = re.compile(r"creativecommons\.org/licenses/([a-z-]+)/([0-9.]+)")


@dataclass(frozen=True, slots=True)
class UseLimits:
    """What a licence asks of users, in sentences (prose), with the address of its text where it is known."""

    name: str
    link: str | None
    sentences: tuple[str, ...]


def known(license_name: str) -> str | None:
    """Return the Hub's id of a licence by any of its usual names, or None if the table does not hold it."""
    name = re.sub(r"[\s_]+", "-", license_name.strip().lower())
    name = re.sub(r"^https?://(www\.)?", "", name).rstrip("/")
    if found := _CC_URL.match(name):
        name = f"cc-{found[1]}-{found[2]}"
    name = _ALIASES.get(name, name)
    return name if name in TERMS else None


def combined(licenses: Iterable[str]) -> tuple[str, str]:
    """Return the Hub's id of the strictest licence (`other` if one is unknown) and why, in a sentence."""
    stated = list(dict.fromkeys(name.strip() for name in licenses))
    unknown = sorted({_NAMELESS.get(name.lower(), name) for name in stated if known(name) is None})
    if not stated:
        return "other", "No source states a licence, so none can be passed on."
    if set(unknown) == {_UNSTATED}:
        return "other", "A part of it states no licence, so its terms must be looked up."
    if unknown:
        return (
            "other",
            f"The terms of {_listed(unknown)} are not known here, so the reader must look them up.",
        )
    ids = sorted({known(name) or "" for name in stated}, key=list(TERMS).index)
    strictest = ids[-1]
    if len(ids) == 1:
        return strictest, f"Everything it is made of is under {strictest}, which {TERMS[strictest]}."
    return strictest, (
        f"Of {_listed(ids)} the strictest is {strictest}, which {TERMS[strictest]}; "
        "the notices that the others ask for are due as well."
    )


def reason(name: str, licenses: Iterable[str]) -> str:
    """Return why a work made of these has the licence `name`: it is the strictest, or somebody's choice."""
    strictest, why = combined(licenses)
    return why if strictest in (name, known(name)) else f"Its publisher chose it. {why}"


def asks(name: str) -> str:
    """Return in half a sentence what a licence asks of users."""
    found = known(name)
    return TERMS[found] if found else "has terms that must be looked up"


def link(name: str) -> str | None:
    """Return the address of a licence's text, where the table or the name itself holds it."""
    found = known(name)
    if found is None:
        return name.strip() if _URL.fullmatch(name.strip()) else None
    if match := _CC_ID.fullmatch(found):
        return f"https://creativecommons.org/licenses/{match[1]}/{match[2]}/"
    return LINKS.get(found)


def use_limits(licenses: Iterable[str]) -> list[UseLimits]:
    """Return what each of the licences asks of users: those that are not known first, then the strictest."""
    stated = {name.strip() for name in licenses}
    strange = sorted({name for name in stated if known(name) is None}, key=str.lower)
    nameless = [name for name in strange if name.lower() in _NAMELESS]
    limits = [UseLimits("not stated", None, UNSTATED)] if nameless else []
    limits += [UseLimits(name, link(name), UNKNOWN) for name in strange if name not in nameless]
    texts = {name: family.limits for family in FAMILIES for name in family.ids.split()}
    ids = sorted({found for name in stated if (found := known(name))}, key=list(TERMS).index, reverse=True)
    return limits + [UseLimits(name, link(name), texts[name]) for name in ids]


def conflicts(licenses: Iterable[str]) -> list[str]:
    """Return in sentences where two of the licences can hardly be kept at once."""
    ids = sorted({found for name in licenses if (found := known(name))}, key=list(TERMS).index)
    sharing = [name for name in ids if _SHARE_ALIKE in TERMS[name]]
    torn = [
        f"`{name}` wants what is made of it under the same licence, but `{ids[-1]}` applies too and is "
        "stricter. Whether both can be kept at once is a question for a lawyer."
        for name in sharing
        if name != ids[-1]
    ]
    closed = [name for name in ids if "sharing anything" in TERMS[name]]
    return torn + [f"`{name}` does not allow changed text of it to be shared at all." for name in closed]


def _listed(names: list[str]) -> str:
    """Return names as a list in a sentence: `a`, `a and b`, `a, b and c`."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
