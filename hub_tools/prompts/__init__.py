"""The prompts, one Jinja template a file; a recipe may put a folder of its own before them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from jinja2 import BaseLoader, DictLoader, FileSystemLoader, StrictUndefined, TemplateError
from jinja2.sandbox import SandboxedEnvironment

from hub_tools.errors import RecipeError

HERE = Path(__file__).parent


class Prompts:
    """Renders prompt templates; texts go in as values, so that nothing inside them is ever executed.

    With `texts`, the templates by name, those of this installation play no part.
    """

    def __init__(self, folder: Path | None = None, texts: Mapping[str, str] | None = None) -> None:
        loader: BaseLoader = FileSystemLoader([*([folder] if folder else []), HERE])
        if texts is not None:
            loader = DictLoader({f"{name}.jinja": text for name, text in texts.items()})
        self._environment = SandboxedEnvironment(
            loader=loader,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,  # a run renders the templates that it began with
        )
        self._template = cache(lambda name: self._environment.get_template(f"{name}.jinja"))
        self._environment.globals.clear()  # texts are all that a prompt has use for; it is faster, too

    def render(self, name: str, **variables: str) -> str:
        """Fill template `name` with texts; surrounding blank space is cut.

        Raises:
            RecipeError: there is no such template, or it is broken.
        """
        try:
            return self._template(name).render(variables).strip()
        except Exception as error:  # a template may calculate, and so fail in any way
            raise RecipeError(f"prompt {name}.jinja: {type(error).__name__}: {error}") from error

    def text(self, name: str) -> str:
        """Return a template's source, as it goes into fingerprints and cards."""
        try:
            source = self._environment.loader.get_source(self._environment, f"{name}.jinja")[0]  # type: ignore[union-attr]
        except TemplateError as error:
            raise RecipeError(f"prompt {name}.jinja is in none of the prompt folders") from error
        return source

    def texts(self, names: Sequence[str]) -> dict[str, str]:
        """Return the sources of several templates by name."""
        return {name: self.text(name) for name in names}


def sha256_text(text: str) -> str:
    """Return the sha256 of a text, in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()
