"""What pages take long to load for the first time, loaded once somebody has opened the first of them."""

from __future__ import annotations

import threading
from functools import cache


@cache
def warm_up() -> None:
    """Load it all beside the work that goes on; a Hub that only programs use never does."""
    threading.Thread(target=_load, name="warm-up", daemon=True).start()


def _load() -> None:
    import pyarrow.compute
    import pyarrow.parquet  # noqa: F401 - imported to be there

    from hub_tools.hub.server.pages import markdown, render

    render.load_templates()
    markdown.rendered("# Warm", "", "", "")
