"""Collections: named lists of repos, as the runs of a recipe keep one."""

from __future__ import annotations

from starlette.routing import Route

ROUTES: list[Route] = []
