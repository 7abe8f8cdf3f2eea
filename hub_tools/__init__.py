"""Instruction back-and-forth translation as a Hugging Face Hub toolkit (arXiv 2408.04614)."""

__version__ = "0.1.0"
