"""What a base is checked for before anything is downloaded or trained."""

from __future__ import annotations

import json

from hub_tools.errors import DataError
from hub_tools.hub.repository import Hub, Ref
from training.settings import TrainSettings


def check_access(hub: Hub, ref: Ref, where: str) -> None:
    """Refuse a repo that can be seen and not be read, as gated ones are; `where` is the place that names it.

    Raises:
        HubError: one line says where to ask for access.
    """
    hub.call(f"{where}: {ref.kind} {ref.repo}", lambda: hub.api.auth_check(ref.repo, repo_type=ref.kind))


def check_base(hub: Hub, settings: TrainSettings, base: Ref, where: str) -> None:
    """Refuse what is no whole model with a tokenizer, and pairs longer than its positions; `where` is the
    place that names it.

    Raises:
        BackforthError: one line says what the base lacks, and the way out.
    """
    path = hub.file(base, "config.json")
    if path is None:
        adapter = hub.read_json(base, "adapter_config.json")
        if adapter is None:
            raise DataError(f"{where}: {base.name} has no config.json; name the repo of a transformers model")
        raise DataError(
            f"{where}: {base.name} is an adapter of {adapter.get('base_model_name_or_path')}; name that, or "
            f"the model with the adapter merged in"
        )
    try:
        positions = json.loads(path.read_text(encoding="utf-8")).get("max_position_embeddings")
    except (ValueError, AttributeError) as error:
        raise DataError(f"{where}: config.json of {base.name} is no JSON object: {error}") from error
    if isinstance(positions, int) and settings.max_length > positions:
        raise DataError(
            f"{where}: max_length is {settings.max_length}, but {base.repo} has positions for {positions} "
            f"tokens; set max_length to {positions} or less (longer pairs are cut, and counted)"
        )
    _check_files(hub, settings, base, where)


def _check_files(hub: Hub, settings: TrainSettings, base: Ref, where: str) -> None:
    """Refuse a base without safetensors, without a tokenizer, or without any chat template."""
    names = hub.names(base)
    if not any(name.endswith(".safetensors") for name in names):
        raise DataError(
            f"{where}: {base.name} has no weights in safetensors, and pickled ones can run code; name a repo "
            "that has, or save it anew with save_pretrained"
        )
    if not {"tokenizer.json", "tokenizer.model", "vocab.json"} & set(names):
        raise DataError(
            f"{where}: {base.name} has no tokenizer; copy that of the model it was made from there"
        )
    if settings.chat_template is not None or "chat_template.jinja" in names:
        return
    tokenizer = hub.read_json(base, "tokenizer_config.json") or {}
    if not tokenizer.get("chat_template"):
        raise DataError(
            f"{where}: {base.name} has no chat template; set chat_template (with make: CONFIG=): that of "
            "Llama-2 is in training/configs/paper-7b-qlora.yaml"
        )
