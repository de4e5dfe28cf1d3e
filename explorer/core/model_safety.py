"""What a model's folder must not ask for: files outside it, pickles, code or kernels from elsewhere.

The library reads names of files and of code from a folder's JSON. They are looked at before it does, so
that what is loaded is what the checksum covers: the folder's own safetensors files, and nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from explorer.core.errors import UnsupportedModelError

_ATTENTION = ("eager", "sdpa", "flash_attention_2", "flex_attention")
_CODE = ("quantization_config", "use_kernels", "kernel_config")
"""Settings with which the library looks for code of other packages or of the hub."""


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError, OSError) as error:
        raise UnsupportedModelError(
            f"{path.parent} cannot be loaded: its {path.name} is not readable JSON; give --model a whole "
            "Hugging Face folder"
        ) from error


def _settings(value: Any) -> Iterator[tuple[str, Any]]:
    """Every key and value, nested ones too."""
    if isinstance(value, dict):
        for key, one in value.items():
            yield str(key), one
            yield from _settings(one)
    elif isinstance(value, list):
        for one in value:
            yield from _settings(one)


def _check_index(path: Path) -> None:
    index = _read(path)
    named = index.get("weight_map") if isinstance(index, dict) else None
    files = set(map(str, named.values())) if isinstance(named, dict) else {""}
    for name in sorted(files):
        is_own = name == Path(name).name and "\\" not in name and name.endswith(".safetensors")
        if not is_own:
            raise UnsupportedModelError(
                f"{path.parent} cannot be loaded: its {path.name} names weights that are no safetensors "
                f"file of the folder ({name[:80]!r}); save the model anew with transformers' "
                "save_pretrained"
            )


def _check_configuration(path: Path) -> None:
    for key, value in _settings(_read(path)):
        is_code = key in _CODE and value
        if is_code or (
            key.endswith("_implementation") and not (value is None or value in _ATTENTION)
        ):
            raise UnsupportedModelError(
                f"{path.parent} cannot be loaded: its config.json asks for {key[:40]}, which takes code "
                "from elsewhere; save the model anew without it"
            )


def check_folder(folder: Path) -> None:
    """Raise UnsupportedModelError where a folder names what is not its own safetensors weights."""
    if (folder / "adapter_config.json").exists():
        raise UnsupportedModelError(
            f"{folder} holds an adapter, which names another model; merge it and save the whole model"
        )
    for path in sorted(folder.glob("*.index.json")):
        _check_index(path)
    if (folder / "config.json").is_file():
        _check_configuration(folder / "config.json")
