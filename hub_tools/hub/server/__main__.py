"""`python -m hub_tools.hub.server --store DIR --port N`: serve a store in this process."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from hub_tools.hub.server import DEFAULT_PORT, HubServerError, serve


def main() -> int:
    """Run the server; a failure to start is one line and exit code 1."""
    parser = argparse.ArgumentParser(
        prog="python -m hub_tools.hub.server", description="Serve an embedded Hub."
    )
    parser.add_argument("--store", type=Path, required=True, help="folder that holds the Hub's data")
    parser.add_argument(
        "--port", type=int, default=DEFAULT_PORT, help="0 takes a free one (default: %(default)s)"
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument(
        "--namespace", default="demo", help="user whose repos may be written (default: %(default)s)"
    )
    parser.add_argument("--token", help="token of that user; needed for a host that others can reach")
    options = parser.parse_args()
    try:
        serve(options.store, options.port, options.host, options.namespace, options.token)
    except HubServerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
