"""A watermark in the choice of tokens (Kirchenbauer et al., 2023), with the settings that TGI has by default.

transformers' `WatermarkDetector` finds it, told of these settings and of the seeding scheme `lefthash`.
"""

from __future__ import annotations

import torch

GREEN_SHARE = 0.5
BONUS = 2.0
KEY = 15_485_863


def watermarked(scores: torch.Tensor, previous: int) -> torch.Tensor:
    """Scores of shape (vocabulary,) with a bonus for the half that the token before them makes green."""
    # Drawn on the CPU, so that the same tokens are green whatever runs the model.
    generator = torch.Generator().manual_seed(KEY * previous)
    size = scores.shape[-1]
    green = torch.randperm(size, generator=generator)[: int(size * GREEN_SHARE)].to(scores.device)
    return scores.index_add(0, green, scores.new_full((len(green),), BONUS))
