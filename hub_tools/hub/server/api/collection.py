"""Collections: named lists of repos, as the runs of a recipe keep one."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field
from starlette.responses import JSONResponse, Response

from hub_tools.hub.server import collection
from hub_tools.hub.server.errors import HubError
from hub_tools.hub.server.http import Call, find_repo, route
from hub_tools.hub.server.repos import KINDS

Title = Annotated[str, Field(min_length=1, max_length=200)]
Text = Annotated[str, Field(max_length=2000)]
Position = Annotated[int, Field(ge=0, le=100_000)]
PAGE_OF_COLLECTIONS = 100


class _Creation(BaseModel):
    title: Title
    namespace: str | None = None
    description: Text | None = None
    private: bool = False


class _Change(BaseModel):
    title: Title | None = None
    description: Text | None = None
    private: bool | None = None
    position: Position | None = None
    theme: Literal["orange", "blue", "green", "purple", "pink", "indigo"] | None = None


class _Item(BaseModel):
    id: str = Field(max_length=300)
    type: Literal["model", "dataset", "space", "paper", "collection"]


class _Addition(BaseModel):
    item: _Item
    note: Text | None = None


class _ItemChange(BaseModel):
    note: Text | None = None
    position: Position | None = None


def create(call: Call) -> Response:
    """Make an empty collection."""
    wanted = call.parse(_Creation)
    namespace = wanted.namespace or call.viewer.require_user()
    call.viewer.require_write(namespace, "create a collection")
    with call.store.db.write() as db:
        body = collection.create(db, namespace, wanted.title, wanted.description, wanted.private)
    return JSONResponse(body)


def list_collections(call: Call) -> Response:
    """The collections of an owner, or those that hold an item (`datasets/ns/name`)."""
    query = call.request.query_params
    owners, items, search = call.listed("owner"), call.listed("item"), query.get("q", "").lower()
    with call.store.db.read() as db:
        found = [_shown(call, db, body) for body in collection.every(db, call.viewer.user, call.viewer.orgs)]
    found = [
        body
        for body in found
        if (not owners or body["owner"]["name"] in owners)
        and search in body["title"].lower()
        and (not items or any(f"{item['type']}s/{item['id']}" in items for item in body["items"]))
    ]
    # Clients number the collections of a list themselves, and fail over a second position.
    return call.page_of(
        found, PAGE_OF_COLLECTIONS, lambda body: {k: body[k] for k in body if k != "position"}
    )


def _slug(call: Call) -> str:
    return f"{call.part('ns')}/{call.part('slug')}"


def read(call: Call) -> Response:
    """One collection."""
    with call.store.db.read() as db:
        return JSONResponse(
            _shown(call, db, collection.get(db, _slug(call), call.viewer.user, call.viewer.orgs))
        )


def _shown(call: Call, db: collection.Database, body: collection.Json) -> collection.Json:
    """The collection without the repos that the viewer must not see or that are gone."""
    return body | {"items": [item for item in body["items"] if _is_visible(call, db, item)]}


def _is_visible(call: Call, db: collection.Database, item: collection.Json) -> bool:
    if item["type"] not in KINDS:
        return True
    try:
        find_repo(db, call.viewer, item["type"], item["id"])
    except HubError:
        return False
    return True


def change(call: Call) -> Response:
    """Change title, description, visibility or theme."""
    wanted = call.parse(_Change).model_dump(exclude_none=True)
    with call.store.db.write() as db:
        body = collection.save(db, _mine(call, db) | wanted)
    return JSONResponse({"data": body})


def delete(call: Call) -> Response:
    """Remove a collection."""
    with call.store.db.write() as db:
        collection.delete(db, _mine(call, db))
    return JSONResponse({})


def add_item(call: Call) -> Response:
    """Add a repo that the viewer can see."""
    wanted = call.parse(_Addition)
    with call.store.db.write() as db:
        body = _mine(call, db)
        name = wanted.item.id
        if wanted.item.type in KINDS:
            name = find_repo(db, call.viewer, wanted.item.type, name).name
        collection.add_item(body, wanted.item.type, name, wanted.note)
        return JSONResponse(collection.save(db, body))


def change_item(call: Call) -> Response:
    """Change an item's note or place."""
    wanted = call.parse(_ItemChange)
    with call.store.db.write() as db:
        body = _mine(call, db)
        collection.change_item(body, call.part("item"), wanted.note, wanted.position)
        return JSONResponse(collection.save(db, body))


def remove_item(call: Call) -> Response:
    """Take a repo out."""
    with call.store.db.write() as db:
        body = _mine(call, db)
        collection.remove_item(body, call.part("item"))
        return JSONResponse(collection.save(db, body))


def _mine(call: Call, db: collection.Database) -> collection.Json:
    body = collection.get(db, _slug(call), call.viewer.user, call.viewer.orgs)
    call.viewer.require_write(body["owner"]["name"], "change a collection")
    return body


ONE = "/api/collections/{ns:part}/{slug:part}"
ROUTES = [
    route("/api/collections", list_collections),
    route("/api/collections", create, ["POST"]),
    route(ONE, read),
    route(ONE, change, ["PATCH"]),
    route(ONE, delete, ["DELETE"]),
    route(ONE + "/items", add_item, ["POST"]),
    route(ONE + "/items/{item:part}", change_item, ["PATCH"]),
    route(ONE + "/items/{item:part}", remove_item, ["DELETE"]),
]
