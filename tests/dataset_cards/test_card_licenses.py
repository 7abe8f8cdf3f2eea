from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataset_cards.licenses import TERMS, combined, known, reason

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
        "The terms of a licence that is not stated are not known here, so the reader must look them up.",
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
