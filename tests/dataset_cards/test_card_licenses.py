from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataset_cards.licenses import HUB_IDS, TERMS, combined, conflicts, known, link, reason, use_limits
from dataset_cards.terms import LINKS

ORDER = [
    "cc0-1.0",
    "mit",
    "apache-2.0",
    "odc-by",
    "cc-by-4.0",
    "cc-by-sa-4.0",
    "llama2",
    "cc-by-nc-4.0",
]


def test_the_table_goes_from_the_freest_to_the_strictest() -> None:
    assert [name for name in TERMS if name in ORDER] == ORDER


@settings(deadline=None)
@given(st.lists(st.sampled_from(ORDER), min_size=1))
def test_the_strictest_wins_in_any_order(names: list[str]) -> None:
    strictest, reason = combined(names)
    assert strictest == max(names, key=ORDER.index)
    assert all(name in reason for name in names)
    assert combined(reversed(names)) == (strictest, reason)


@pytest.mark.parametrize("names", [["mit", "My Terms"], ["My Terms", "cc-by-nc-4.0"], ["My Terms"]])
def test_an_unknown_licence_makes_it_other_and_is_named(names: list[str]) -> None:
    strictest, reason = combined(names)
    assert strictest == "other"
    assert "My Terms" in reason


def test_no_licence_is_not_a_free_one() -> None:
    assert combined([])[0] == "other"
    assert combined(["mit", ""]) == (
        "other",
        "A part of it states no licence, so its terms must be looked up.",
    )


def test_a_licence_freer_than_its_parts_is_called_a_choice() -> None:
    assert reason("mit", ["mit", "cc0-1.0"]).startswith("Of cc0-1.0 and mit the strictest is mit")
    assert reason("mit", ["cc-by-nc-4.0"]).startswith("Its publisher chose it. Everything")
    assert reason("other", ["My Terms"]).startswith("The terms of My Terms")


@pytest.mark.parametrize(
    ("name", "identifier"),
    [
        ("ODC-BY", "odc-by"),
        ("Apache License 2.0", "apache-2.0"),
        ("MIT License", "mit"),
        ("CC BY-SA 4.0", "cc-by-sa-4.0"),
        ("https://creativecommons.org/licenses/by-nc/4.0/", "cc-by-nc-4.0"),
        ("http://creativecommons.org/publicdomain/zero/1.0/", "cc0-1.0"),
        ("https://creativecommons.org/licenses/by/2.7/", None),
        ("proprietary", None),
        ("", None),
    ],
)
def test_usual_names_are_understood(name: str, identifier: str | None) -> None:
    assert known(name) == identifier


def sentences(name: str) -> str:
    """Return what one licence asks of users."""
    (found,) = use_limits([name])
    return " ".join(found.sentences)


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("llama2", "any other large language model than Llama 2"),
        (
            "llama2",
            "Llama 2 is licensed under the LLAMA 2 Community License, Copyright (c) Meta Platforms, Inc.",
        ),
        ("llama2", "700 million monthly active users"),
        ("llama2", "acceptable use policy"),
        ("llama3", "Built with Meta Llama 3"),
        ("llama3.1", "Built with Llama"),
        ("llama3.3", "Llama 3.3 is licensed under the Llama 3.3 Community License"),
        ("gemma", "prohibited use policy"),
        ("bigcode-openrail-m", "harmful uses"),
        ("cc-by-nc-4.0", "No commercial use."),
        ("CC BY-SA 4.0", "under the same licence"),
        ("cc-by-nc-sa-4.0", "No commercial use."),
        ("cc-by-nd-4.0", "unchanged or not at all"),
        ("odc-by", "Name the database"),
        ("apache-2.0", "notices"),
        ("cc0-1.0", "anything"),
        ("My Terms", "not known"),
        ("", "No licence is stated"),
        ("unknown", "No licence is stated"),
    ],
)
def test_use_limits_say_what_a_licence_asks(name: str, word: str) -> None:
    assert word in sentences(name)


@settings(deadline=None)
@given(st.lists(st.sampled_from([*TERMS, "My Terms", "", "unknown"]), min_size=1))
def test_no_licence_is_left_out_of_the_use_limits(names: list[str]) -> None:
    found = [limit.name for limit in use_limits(names)]
    assert set(found) == {
        known(name) or ("My Terms" if name == "My Terms" else "not stated") for name in names
    }
    ranks = [list(TERMS).index(name) for name in found if name in TERMS]
    assert ranks == sorted(ranks, reverse=True)


def test_the_strictest_of_incompatible_licences_is_taken_and_all_are_listed() -> None:
    names = ["llama2", "cc-by-nc-4.0", "cc-by-sa-4.0"]
    assert combined(names)[0] == "cc-by-nc-4.0"
    assert [limit.name for limit in use_limits(names)] == ["cc-by-nc-4.0", "llama2", "cc-by-sa-4.0"]
    assert conflicts(names)[0].startswith("`cc-by-sa-4.0` wants what is made of it under the same licence")
    assert conflicts(["odc-by", "cc-by-sa-4.0"]) == []
    assert "cc-by-nd-4.0" in conflicts(["mit", "cc-by-nd-4.0"])[0]


def test_addresses_are_those_of_known_licences() -> None:
    assert set(LINKS) <= set(TERMS)
    assert link("CC BY-NC-SA 4.0") == "https://creativecommons.org/licenses/by-nc-sa/4.0/"
    assert link("https://example.org/terms") == "https://example.org/terms"
    assert link("javascript:alert(1)") is None
    assert link("My Terms") is None


def test_ids_that_the_hub_does_not_take_are_not_written_as_such() -> None:
    assert "eupl-1.2" not in HUB_IDS
    assert {"llama3.3", "gemma", "openrail++", "unknown", "other"} <= HUB_IDS
