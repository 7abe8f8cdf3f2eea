"""What licences ask of those who use a work, in plain words and from the freest family to the strictest."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """Licences (the Hub's ids) that ask for the same: in half a sentence after `which`, and in full."""

    ids: str
    asks: str
    limits: tuple[str, ...]


_ATTRIBUTION = "Name the authors, link to the licence, and say what you changed, wherever you share the text."
_POLICY = "Its acceptable use policy binds everybody who uses the model, what it wrote, or models made of it."
_SCALE = (
    "Whoever had more than 700 million monthly active users when that model was released needs a licence of "
    "their own from Meta."
)
_COPY = "Whoever shares the model, or a model made of it, passes on the agreement and the notice `{notice}`"
_BUILT = (
    "Products and models made with it show `Built with {built}`, and the name of such a model begins with"
)
_LLAMA3 = (
    "{0} is licensed under the {0} Community License, Copyright © Meta Platforms, Inc. All Rights Reserved."
)

FAMILIES = (
    Family(
        ids="cc0-1.0 pddl unlicense wtfpl",
        asks="asks for nothing",
        limits=("Use it for anything; nobody has to be asked or named.",),
    ),
    Family(
        ids="mit isc zlib bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear bsl-1.0 ncsa postgresql",
        asks="keeps its notice",
        limits=("Keep the copyright notice and the licence's text with every copy.",),
    ),
    Family(
        ids="afl-3.0 artistic-2.0 ecl-2.0 ms-pl apache-2.0",
        asks="keeps its notices",
        limits=(
            "Keep the licence's text and all notices with every copy, and mark what you changed. "
            "Who sues over patents in it loses the patent licence.",
        ),
    ),
    Family(
        ids="cdla-permissive-1.0 cdla-permissive-2.0",
        asks="asks to be passed on with the data",
        limits=("Pass the agreement on with the data; results of computing with it are free of it.",),
    ),
    Family(
        ids="odc-by",
        asks="asks for attribution",
        limits=(
            "Name the database that the texts come from, with a link to its licence, wherever you use it in "
            "public.",
            "It covers the collection only: each page in it still belongs to its own author.",
        ),
    ),
    Family(
        ids="etalab-2.0 cc-by-2.0 cc-by-2.5 cc-by-3.0 cc-by-4.0",
        asks="asks for attribution",
        limits=(_ATTRIBUTION,),
    ),
    Family(
        ids="lgpl lgpl-2.1 lgpl-3.0 lgpl-lr mpl-2.0 epl-1.0 epl-2.0 eupl-1.1 eupl-1.2 osl-3.0 gpl gpl-2.0 "
        "gpl-3.0 agpl-3.0",
        asks="asks for the same licence for what is made of it",
        limits=("What you make of it and share goes under the same licence, with its source.",),
    ),
    Family(
        ids="odbl cdla-sharing-1.0 gfdl cc-by-sa-3.0 cc-by-sa-4.0",
        asks="asks for attribution and the same licence for what is made of it",
        limits=(_ATTRIBUTION, "What you make of it and share goes under the same licence."),
    ),
    Family(
        ids="openrail openrail++ bigscience-openrail-m creativeml-openrail-m bigcode-openrail-m "
        "bigscience-bloom-rail-1.0",
        asks="forbids a list of harmful uses and wants that passed on",
        limits=(
            "The harmful uses that it lists are forbidden, and its list binds whoever gets the model or a "
            "model made of it: pass it on.",
        ),
    ),
    Family(
        ids="gemma",
        asks="binds users to Google's terms and use policy",
        limits=(
            "Google's prohibited use policy binds everybody who uses the model or models made of it.",
            "Google claims no rights in what the model wrote, but a model that is trained on it to behave "
            "like Gemma counts as made of Gemma, and goes under the same terms.",
            "Whoever shares such a model passes on the terms and the notice `Gemma is provided under and "
            "subject to the Gemma Terms of Use found at ai.google.dev/gemma/terms`",
        ),
    ),
    *(
        Family(
            ids=f"llama{version}",
            asks="binds users to Meta's community licence and use policy",
            limits=(
                f"{_BUILT.format(built='Llama')} `Llama`; so for models trained on what it wrote.",
                _COPY.format(notice=_LLAMA3.format(f"Llama {version}")),
                _SCALE,
                _POLICY,
            ),
        )
        for version in ("3.3", "3.2", "3.1")
    ),
    Family(
        ids="llama3",
        asks="binds users to Meta's community licence and use policy",
        limits=(
            "What the model wrote must not improve any other large language model than Llama 3 and models "
            "made of it.",
            f"{_BUILT.format(built='Meta Llama 3')} `Llama 3`.",
            _COPY.format(notice=_LLAMA3.format("Meta Llama 3")),
            _SCALE,
            _POLICY,
        ),
    ),
    Family(
        ids="llama2",
        asks="binds users to Meta's community licence and use policy",
        limits=(
            "What the model wrote must not improve any other large language model than Llama 2 and models "
            "made of it: train only those on this text.",
            _COPY.format(
                notice="Llama 2 is licensed under the LLAMA 2 Community License, Copyright (c) Meta "
                "Platforms, Inc. All Rights Reserved."
            ),
            _SCALE,
            _POLICY,
        ),
    ),
    Family(
        ids="deepfloyd-if-license cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0",
        asks="forbids commercial use",
        limits=("No commercial use.", _ATTRIBUTION),
    ),
    Family(
        ids="cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0",
        asks="forbids commercial use and asks for the same licence for what is made of it",
        limits=(
            "No commercial use.",
            _ATTRIBUTION,
            "What you make of it and share goes under the same licence.",
        ),
    ),
    Family(
        ids="cc-by-nd-4.0",
        asks="forbids sharing anything that is made of it",
        limits=("Share it unchanged or not at all: no rewritten or shortened text of it.", _ATTRIBUTION),
    ),
    Family(
        ids="cc-by-nc-nd-3.0 cc-by-nc-nd-4.0",
        asks="forbids commercial use and sharing anything that is made of it",
        limits=(
            "No commercial use.",
            "Share it unchanged or not at all: no rewritten or shortened text of it.",
            _ATTRIBUTION,
        ),
    ),
)
UNSTATED = (
    "No licence is stated for a part of it. The law of your country alone then says what you may do: ask "
    "whoever holds the rights before you share it.",
)
UNKNOWN = ("Its terms are not known to the program that wrote this page: read them before you use it.",)

# Where their texts are; Creative Commons' addresses follow from the ids.
LINKS = {
    "cc0-1.0": "https://creativecommons.org/publicdomain/zero/1.0/",
    "pddl": "https://opendatacommons.org/licenses/pddl/1-0/",
    "mit": "https://opensource.org/license/mit",
    "apache-2.0": "https://www.apache.org/licenses/LICENSE-2.0",
    "odc-by": "https://opendatacommons.org/licenses/by/1-0/",
    "odbl": "https://opendatacommons.org/licenses/odbl/1-0/",
    "cdla-permissive-1.0": "https://cdla.dev/permissive-1-0/",
    "cdla-permissive-2.0": "https://cdla.dev/permissive-2-0/",
    "cdla-sharing-1.0": "https://cdla.dev/sharing-1-0/",
    "gpl-3.0": "https://www.gnu.org/licenses/gpl-3.0.html",
    "agpl-3.0": "https://www.gnu.org/licenses/agpl-3.0.html",
    "bigscience-bloom-rail-1.0": "https://huggingface.co/spaces/bigscience/license",
    "bigcode-openrail-m": "https://huggingface.co/spaces/bigcode/bigcode-model-license-agreement",
    "creativeml-openrail-m": "https://huggingface.co/spaces/CompVis/stable-diffusion-license",
    "gemma": "https://ai.google.dev/gemma/terms",
    "llama2": "https://ai.meta.com/llama/license/",
    "llama3": "https://www.llama.com/llama3/license/",
    "llama3.1": "https://www.llama.com/llama3_1/license/",
    "llama3.2": "https://www.llama.com/llama3_2/license/",
    "llama3.3": "https://www.llama.com/llama3_3/license/",
}
