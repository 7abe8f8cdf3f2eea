"""The rows of a dataset: a hundred a page, those with a text in them, or one row whole."""

from __future__ import annotations

from starlette.responses import Response

from hub_tools.hub.server import wire
from hub_tools.hub.server.errors import HubError
from hub_tools.hub.server.pages.repository import read_metadata
from hub_tools.hub.server.pages.rows import Row, TableRows, UnreadableError
from hub_tools.hub.server.pages.tables import Table, tables
from hub_tools.hub.server.pages.values import shown
from hub_tools.hub.server.pages.visit import Visit

PAGE_OF_ROWS = 100
# A first look is to be quick; whoever asks to search further can wait.
FIRST_LOOK, FURTHER_LOOK = 0.1, 2.0
_MAX_CELL = 8_000
_MAX_WHOLE = 1_000_000
_MAX_SEARCH = 200


def viewer_page(visit: Visit) -> Response:
    """Rows of one config and split; a damaged file is named and the page stays usable."""
    visit.require_access()
    metadata, _ = read_metadata(wire.read_card(visit.call.store.blobs, visit.tree))
    found = tables(metadata, visit.tree)
    table = _chosen(visit, found)
    values = {"tab": "viewer", "tables": found, "table": table, "search": "", "problem": "", "count": 0}
    if table is None:
        return visit.show("viewer", **values, mode="empty")
    try:
        rows = TableRows(table, visit.call.store.blobs.path)
        return visit.show("viewer", **values | {"count": rows.count} | _view(visit, rows))
    except UnreadableError as error:
        return visit.show("viewer", **values | {"problem": str(error)}, mode="broken")


def _chosen(visit: Visit, found: list[Table]) -> Table | None:
    """The table that the address names, the first one if it names none; raises 404."""
    config = visit.call.part("config") or visit.query("config")
    split = visit.call.part("split") or visit.query("split")
    fitting = [table for table in found if config in ("", table.config) and split in ("", table.split)]
    if found and not fitting:
        raise HubError(404, f"{visit.repo.name} has no rows of {'/'.join(filter(None, (config, split)))}")
    return fitting[0] if fitting else None


def _view(visit: Visit, rows: TableRows) -> dict[str, object]:
    row_id, search = visit.query("id")[:_MAX_SEARCH], visit.query("q")[:_MAX_SEARCH]
    if row_id or visit.query("row"):
        number = rows.find(row_id) if row_id else visit.call.number("row", 0, 10**12)
        return _whole(rows, number, row_id)
    if search:
        start = visit.call.number("from", 0, 10**12)
        found = rows.search(search, start, PAGE_OF_ROWS, FURTHER_LOOK if start else FIRST_LOOK)
        return _table(found.rows, mode="search", search=search, start=start, found=found)
    number = max(1, visit.call.number("page", visit.call.number("p", 0, 10**10) + 1, 10**10))
    start = (number - 1) * PAGE_OF_ROWS
    return _table(
        rows.page(start, PAGE_OF_ROWS),
        mode="page",
        start=start,
        number=number,
        last=max(1, -(-rows.count // PAGE_OF_ROWS)),
    )


def _table(rows: list[tuple[int, Row]], **values: object) -> dict[str, object]:
    columns = list(dict.fromkeys(name for _, row in rows for name in row))
    lines = [(number, [shown(row.get(name), _MAX_CELL) for name in columns]) for number, row in rows]
    return {"columns": columns, "rows": lines, **values}


def _whole(rows: TableRows, number: int | None, row_id: str) -> dict[str, object]:
    """One row with all of its text; none if nothing has the id or number."""
    found = rows.page(number, 1) if number is not None else []
    row = found[0][1] if found else {}
    return {
        "mode": "row",
        "number": number,
        "row_id": row_id,
        "own_id": row.get("id"),
        "fields": [(name, shown(value, _MAX_WHOLE)) for name, value in row.items()],
        "page": (number or 0) // PAGE_OF_ROWS + 1,
    }
