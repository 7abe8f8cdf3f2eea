"""The rows of a dataset: a hundred a page, those with a text in them, or one row whole."""

from __future__ import annotations

from itertools import islice
from typing import Any

from starlette.responses import Response

from hub_tools.hub.server import wire
from hub_tools.hub.server.errors import HubError
from hub_tools.hub.server.pages.render import href
from hub_tools.hub.server.pages.repository import read_metadata
from hub_tools.hub.server.pages.rows import Row, TableRows, UnreadableError
from hub_tools.hub.server.pages.tables import Table, tables
from hub_tools.hub.server.pages.values import CELL, WHOLE, Room, Shown, picture, shown
from hub_tools.hub.server.pages.visit import Visit

PAGE_OF_ROWS = 100
# A first look is to be quick; whoever asks to search further can wait.
FIRST_LOOK, FURTHER_LOOK = 0.1, 1.0
_MAX_SEARCH = 200
_MAX_COLUMNS, _MAX_FIELDS, _MAX_NAME = 200, 2_000, 200


def viewer_page(visit: Visit) -> Response:
    """Rows of one config and split; a damaged file is named and the page stays usable."""
    found = _tables(visit)
    table = _chosen(visit, found)
    values = {"tab": "viewer", "tables": found, "table": table, "search": "", "problem": "", "count": 0}
    if table is None:
        return visit.show("viewer", **values, mode="empty")
    try:
        rows = TableRows(table, visit.call.store.blobs.path)
        return visit.show("viewer", **values | {"count": rows.count} | _view(visit, table, rows))
    except UnreadableError as error:
        return visit.show("viewer", **values | {"problem": str(error)}, mode="broken")


def picture_page(visit: Visit) -> Response:
    """The picture that lies in one cell; raises 404 where there is none."""
    table = _chosen(visit, _tables(visit))
    column, number = visit.query("column"), visit.call.number("row", 0, 10**12)
    try:
        rows = TableRows(table, visit.call.store.blobs.path).page(number, 1) if table else []
    except UnreadableError as error:
        raise HubError(404, str(error)) from error
    found = picture(rows[0][1].get(column)) if rows else None
    if found is None:
        raise HubError(404, f"There is no picture in {column[:100]!r} of row {number + 1}")
    headers = {"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "default-src 'none'; sandbox"}
    if visit.revision == visit.oid:
        headers["Cache-Control"] = "private, max-age=604800, immutable"
    return Response(found[0], media_type=found[1], headers=headers)


def _tables(visit: Visit) -> list[Table]:
    """All tables of the revision, for those who may look inside."""
    visit.require_access()
    metadata, _ = read_metadata(wire.read_card(visit.call.store.blobs, visit.tree))
    return tables(metadata, visit.readable)


def _chosen(visit: Visit, found: list[Table]) -> Table | None:
    """The table that the address names, the first one if it names none; raises 404."""
    config = visit.call.part("config") or visit.query("config")
    split = visit.call.part("split")
    fitting = [table for table in found if config in ("", table.config) and split in ("", table.split)]
    if found and not fitting:
        raise HubError(404, f"{visit.repo.name} has no rows of {'/'.join(filter(None, (config, split)))}")
    # The form sends the split of the config that was left, which the one that was chosen may not have.
    wanted = visit.query("split")
    return next((table for table in fitting if table.split == wanted), fitting[0] if fitting else None)


def _view(visit: Visit, table: Table, rows: TableRows) -> dict[str, object]:
    row_id, search = visit.query("id")[:_MAX_SEARCH], visit.query("q")[:_MAX_SEARCH]
    sought = visit.query("at")[:_MAX_SEARCH].strip()
    if sought.isascii() and sought.isdigit() and 0 < int(sought) <= rows.count:
        return _whole(visit, table, rows, int(sought) - 1, "")
    if row_id := row_id or sought:
        return _whole(visit, table, rows, rows.find(row_id), row_id)
    if visit.query("row"):
        return _whole(visit, table, rows, visit.call.number("row", 0, 10**12), "")
    if search:
        start = visit.call.number("from", 0, 10**12)
        found = rows.search(search, start, PAGE_OF_ROWS, FURTHER_LOOK if start else FIRST_LOOK)
        return {
            **_grid(visit, table, found.rows),
            "mode": "search",
            "search": search,
            "start": start,
            "found": found,
        }
    number = max(1, visit.call.number("page", visit.call.number("p", 0, 10**10) + 1, 10**10))
    start = (number - 1) * PAGE_OF_ROWS
    return {
        **_grid(visit, table, rows.page(start, PAGE_OF_ROWS)),
        "mode": "page",
        "start": start,
        "number": number,
        "last": max(1, -(-rows.count // PAGE_OF_ROWS)),
    }


def _grid(visit: Visit, table: Table, rows: list[tuple[int, Row]]) -> dict[str, object]:
    """The rows as lines of cells, under columns that say whether they hold numbers."""
    every = list(dict.fromkeys(name for _, row in rows for name in row))
    names = every[:_MAX_COLUMNS]
    lines = [
        (number, [_cell(visit, table, number, name, row.get(name), CELL) for name in names])
        for number, row in rows
    ]
    kinds = [{cells[at].kind for _, cells in lines} - {"none"} for at in range(len(names))]
    columns = [(name[:_MAX_NAME], kind == {"number"}) for name, kind in zip(names, kinds, strict=True)]
    return {"columns": columns, "rows": lines, "left_columns": len(every) - len(names)}


def _cell(visit: Visit, table: Table, number: int, name: str, value: Any, room: Room) -> Shown:
    """A value ready to show; a picture as its address, at this commit for good."""
    if picture(value) is None:
        return shown(value, room)
    place = {"config": table.config, "split": table.split, "row": number, "column": name}
    return Shown("picture", href(f"{visit.repo.web_path}/picture", revision=visit.oid, **place), name)


def _whole(visit: Visit, table: Table, rows: TableRows, number: int | None, row_id: str) -> dict[str, object]:
    """One row with all of its text; none if nothing has the id or number."""
    found = rows.page(number, 1) if number is not None else []
    row = found[0][1] if found else {}
    return {
        "mode": "row",
        "number": number,
        "row_id": row_id,
        "own_id": row.get("id"),
        "fields": [
            (name, _cell(visit, table, number or 0, name, value, WHOLE))
            for name, value in islice(row.items(), _MAX_FIELDS)
        ],
        "left_fields": max(0, len(row) - _MAX_FIELDS),
        "page": (number or 0) // PAGE_OF_ROWS + 1,
    }
