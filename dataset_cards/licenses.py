"""Which licence a work has that is made of works under several licences."""

from __future__ import annotations

import re
from collections.abc import Iterable

# From the freest to the strictest, with what each asks of those who use the work.
TERMS = {
    "cc0-1.0": "asks for nothing",
    "mit": "keeps its notice",
    "bsd-3-clause": "keeps its notice",
    "apache-2.0": "keeps its notices",
    "odc-by": "asks for attribution",
    "cc-by-3.0": "asks for attribution",
    "cc-by-4.0": "asks for attribution",
    "cc-by-sa-3.0": "asks for attribution and the same licence for what is made of it",
    "cc-by-sa-4.0": "asks for attribution and the same licence for what is made of it",
    "llama2": "binds users to Meta's community licence and use policy",
    "cc-by-nc-4.0": "forbids commercial use",
    "cc-by-nc-sa-4.0": "forbids commercial use and asks for the same licence for what is made of it",
}
# Every id that the Hub's `license` key takes beside those.
_OTHER_IDS = """
    afl-3.0 agpl-3.0 artistic-2.0 bigcode-openrail-m bigscience-bloom-rail-1.0 bigscience-openrail-m bsd
    bsd-2-clause bsd-3-clause-clear bsl-1.0 c-uda cc cc-by-2.0 cc-by-2.5 cc-by-nc-2.0 cc-by-nc-3.0
    cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nd-4.0 cdla-permissive-1.0
    cdla-permissive-2.0 cdla-sharing-1.0 creativeml-openrail-m deepfloyd-if-license ecl-2.0 epl-1.0
    epl-2.0 etalab-2.0 eupl-1.1 gemma gfdl gpl gpl-2.0 gpl-3.0 isc lgpl lgpl-2.1 lgpl-3.0 lgpl-lr llama3
    llama3.1 llama3.2 llama3.3 lppl-1.3c mpl-2.0 ms-pl ncsa odbl ofl-1.1 openrail openrail++ osl-3.0 other
    pddl postgresql unknown unlicense wtfpl zlib
"""
HUB_IDS = frozenset(TERMS) | frozenset(_OTHER_IDS.split())
_ALIASES = {
    "cc0": "cc0-1.0",
    "mit-license": "mit",
    "apache2": "apache-2.0",
    "apache-license-2.0": "apache-2.0",
    "odc-by-1.0": "odc-by",
    "llama-2": "llama2",
    "creativecommons.org/publicdomain/zero/1.0": "cc0-1.0",
    "opendatacommons.org/licenses/by/1-0": "odc-by",
}
_NAMELESS = dict.fromkeys(("", "unknown", "other"), "a licence that is not stated")
_CC_URL = re.compile(r"creativecommons\.org/licenses/([a-z-]+)/([0-9.]+)")


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


def _listed(names: list[str]) -> str:
    """Return names as a list in a sentence: `a`, `a and b`, `a, b and c`."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
