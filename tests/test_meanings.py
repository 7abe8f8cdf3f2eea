from __future__ import annotations

import pytest

from hub_tools.meanings import OWN, meanings
from hub_tools.records import Rejected
from hub_tools.stages.registry import known_stages

RECORDS = {stage.writes for stage in known_stages().values() if isinstance(stage.writes, type)} | {Rejected}


@pytest.mark.parametrize("record", sorted(RECORDS, key=lambda record: record.__name__))
def test_every_column_that_is_published_is_explained(record: type) -> None:
    assert not [name for name, meaning in meanings(record).items() if not meaning]


def test_no_explanation_is_left_over() -> None:
    names = {record.__name__: set(meanings(record)) for record in RECORDS}
    assert not [(record, name) for record, name in OWN if name not in names[record]]
