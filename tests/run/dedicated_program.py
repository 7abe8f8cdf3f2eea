"""The command line, with the embedded Hub as huggingface.co and a fake of its Inference Endpoints."""

from __future__ import annotations

import os

from huggingface_hub import constants

from hub_tools.cli import main
from hub_tools.endpoints import dedicated

constants.INFERENCE_ENDPOINTS_ENDPOINT = os.environ["FAKE_SERVICE"]
dedicated.HUGGING_FACE = os.environ["HF_ENDPOINT"]
dedicated.POLL, dedicated.PAUSE = 0.05, 0.05

if __name__ == "__main__":
    main()
