"""`python -m hub_tools.endpoints.server`: the embedded endpoint as a process of its own."""

from __future__ import annotations

import argparse
import os
import sys

from hub_tools.endpoints.server import DEFAULT_PORT, EndpointServerError, ServerOptions, serve
from hub_tools.endpoints.server.options import DEVICES, DTYPES, TOKEN_VARIABLE, parse_adapter
from hub_tools.endpoints.server.parent import exit_with_parent


def main(arguments: list[str] | None = None) -> int:
    """Serve as the command line says; 1 and one line on stderr when that is not possible."""
    given = _parser().parse_args(arguments)
    if given.exit_with_parent:
        exit_with_parent()
    options = ServerOptions(
        model=given.model,
        adapters=dict(given.adapter),
        host=given.host,
        port=given.port,
        max_batch_size=given.max_batch_size,
        max_total_tokens=given.max_total_tokens,
        max_concurrent_requests=given.max_concurrent_requests,
        threads=given.threads,
        device=given.device,
        dtype=given.dtype,
        model_id=given.model_id,
        cors_allow_origins=given.cors_allow_origin,
        token=os.environ.get(TOKEN_VARIABLE) or None,
    )
    try:
        serve(options)
    except EndpointServerError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m hub_tools.endpoints.server",
        description="Serve a small model and its LoRA adapters over TGI's wire protocol.",
        epilog=f"A bearer token is taken from ${TOKEN_VARIABLE}.",
    )
    parser.add_argument("--model", required=True, metavar="REPO[@REV]|FOLDER")
    parser.add_argument(
        "--adapter", action="append", default=[], type=_adapter, metavar="[NAME=]REPO[@REV]|NAME=FOLDER"
    )
    parser.add_argument("--model-id", help="the name to report when the model is a folder")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=DEFAULT_PORT, help="0 takes any free port")
    parser.add_argument("--max-batch-size", type=int, default=8)
    parser.add_argument("--max-total-tokens", type=int)
    parser.add_argument("--max-concurrent-requests", type=int, default=128)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--device", default="auto", choices=DEVICES)
    parser.add_argument("--dtype", default="auto", choices=DTYPES)
    parser.add_argument("--cors-allow-origin", action="append", default=[], metavar="ORIGIN")
    parser.add_argument("--exit-with-parent", action="store_true", help="end when standard input is closed")
    return parser


def _adapter(text: str) -> tuple[str, str]:
    try:
        return parse_adapter(text)
    except EndpointServerError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


if __name__ == "__main__":
    sys.exit(main())
