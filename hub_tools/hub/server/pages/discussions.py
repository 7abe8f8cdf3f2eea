"""Discussions and pull requests: the list, and one with its comments and what it proposes."""

from __future__ import annotations

import re

from starlette.responses import Response

from hub_tools.hub.server import commits, discussions
from hub_tools.hub.server.discussions import Discussion
from hub_tools.hub.server.errors import HubError
from hub_tools.hub.server.merging import PullRequest
from hub_tools.hub.server.pages.changes import Change, changes
from hub_tools.hub.server.pages.history import MAX_FILES
from hub_tools.hub.server.pages.markdown import rendered
from hub_tools.hub.server.pages.visit import Visit

PAGE_OF_DISCUSSIONS = 100


def list_page(visit: Visit) -> Response:
    """All discussions and pull requests, the newest first."""
    number = max(1, visit.call.number("page", 1, 10**6))
    found = discussions.every(visit.db, visit.repo)
    end = number * PAGE_OF_DISCUSSIONS
    return visit.show(
        "discussions",
        tab="discussions",
        discussions=found[end - PAGE_OF_DISCUSSIONS : end],
        total=len(found),
        number=number,
        more=end < len(found),
    )


def discussion_page(visit: Visit) -> Response:
    """One of them."""
    number = visit.call.part("number")
    if not re.fullmatch(r"[1-9][0-9]{0,8}", number):
        raise HubError(404, f"{number[:50]!r} is no number of a discussion")
    found = discussions.get(visit.db, visit.repo, int(number))
    events = discussions.events(visit.db, visit.repo, found.number)
    texts = {
        event["id"]: rendered(event["data"]["latest"]["raw"], "", visit.at("resolve"), visit.at("blob"))
        for event in events
        if event["type"] == "comment" and not event["data"].get("hidden")
    }
    proposed, total = _proposed(visit, found)
    return visit.show(
        "discussion",
        tab="discussions",
        found=found,
        events=events,
        texts=texts,
        changes=proposed,
        total=total,
    )


def _proposed(visit: Visit, found: Discussion) -> tuple[list[Change], int]:
    """The files that a pull request changes, and how many they are."""
    if found.base:
        visit.require_access()
    own = PullRequest(visit.db, visit.repo, found).commits if found.base else []
    if not own:
        return [], 0
    line = commits.history(visit.db, visit.repo, own[-1].oid, 0, 2)
    before = commits.tree(visit.db, visit.repo, line[1].oid) if len(line) > 1 else {}
    return changes(visit.call.store.blobs, before, visit.tree, MAX_FILES)
