"""Body of `/info`."""

from __future__ import annotations

from typing import Any

from hub_tools import __version__
from hub_tools.endpoints.server.model import LoadedModel
from hub_tools.endpoints.server.options import ServerOptions
from hub_tools.endpoints.server.parameters import MAX_BEST_OF, MAX_STOP_SEQUENCES
from hub_tools.endpoints.server.source import Source

MAX_CLIENT_BATCH_SIZE = 4  # prompts in one `/v1/completions`, TGI's default
VALIDATION_WORKERS = 2  # one that reads a monstrous prompt leaves the other, TGI's default
TGI_VERSION = "3.3.7"  # whose protocol this is: clients decide by it what they may ask
LABEL = f"backforth-{__version__}"
FINGERPRINT = f"{TGI_VERSION}-{LABEL}"


def describe(model: LoadedModel, options: ServerOptions) -> dict[str, Any]:
    """TGI's keys, and ours (`adapters`, `seed_is_batch_invariant`, …) beside them.

    A seeded answer is the same in any company where rows are computed one by one, or are steady.
    """
    return {
        "model_id": model.source.name,
        "model_sha": model.source.sha,
        "model_pipeline_tag": "text-generation",
        "model_dtype": str(model.dtype),
        "model_device_type": model.device.type,
        "max_concurrent_requests": options.max_concurrent_requests,
        "max_best_of": MAX_BEST_OF,
        "max_stop_sequences": MAX_STOP_SEQUENCES,
        "max_input_tokens": model.max_total_tokens - 1,
        "max_total_tokens": model.max_total_tokens,
        "max_client_batch_size": MAX_CLIENT_BATCH_SIZE,
        "max_batch_size": options.max_batch_size,
        "max_batch_total_tokens": options.max_batch_size * model.max_total_tokens,
        "validation_workers": VALIDATION_WORKERS,
        "router": "backforth-endpoint",
        "version": TGI_VERSION,
        "sha": None,
        "docker_label": LABEL,
        "adapters": {name: _described(source) for name, source in model.adapters.items()},
        "seed_is_batch_invariant": options.max_batch_size == 1 or model.steady is not None,
    }


def _described(source: Source) -> dict[str, str | None]:
    # The folder of a local adapter is nobody else's business; a repository and its commit are.
    return {"id": source.name if source.sha else None, "sha": source.sha}
