"""The sizes of a model without its weights: from its configuration, or from the name of a known one."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

from explorer.core.errors import CallError, UnsupportedModelError
from explorer.core.types import ModelShape

_MOST = {"layers": 1_000, "heads": 1_000, "width": 1 << 17, "mlp": 1 << 20, "vocab": 1 << 24,
         "context": 1 << 24}  # fmt: skip
"""Sizes beyond these are no model but a mistake."""


def _gpt2(layers: int, heads: int, width: int) -> ModelShape:
    return ModelShape(layers, heads, width, width // heads, 4 * width, 50257, 1024, False, False)


def _pythia(layers: int, heads: int, width: int, vocab: int = 50304) -> ModelShape:
    return ModelShape(layers, heads, width, width // heads, 4 * width, vocab, 2048, True, True)


NAMED: dict[str, ModelShape] = {
    "gpt2": _gpt2(12, 12, 768),
    "gpt2-medium": _gpt2(24, 16, 1024),
    "gpt2-large": _gpt2(36, 20, 1280),
    "gpt2-xl": _gpt2(48, 25, 1600),
    "pythia-14m": _pythia(6, 4, 128),
    "pythia-31m": _pythia(6, 8, 256),
    "pythia-70m": _pythia(6, 8, 512),
    "pythia-160m": _pythia(12, 12, 768),
    "pythia-410m": _pythia(24, 16, 1024),
    "pythia-1b": _pythia(16, 8, 2048),
    "pythia-1.4b": _pythia(24, 16, 2048),
    "pythia-2.8b": _pythia(32, 32, 2560),
    "pythia-6.9b": _pythia(32, 32, 4096, 50432),
    "pythia-12b": _pythia(36, 40, 5120, 50688),
}
"""As their published configurations have them."""


def parse_shape(text: str) -> ModelShape:
    """A name of `NAMED`, or sizes such as `layers=12,heads=12,width=768,mlp=3072,vocab=50257,context=1024`
    (and `parallel=1` for blocks as in Pythia). Raises CallError."""
    if text in NAMED:
        return NAMED[text]
    if "=" not in text:
        raise CallError(
            f"--model-shape {text[:40]!r} is not known; give one of {', '.join(NAMED)}, or "
            "layers=12,heads=12,width=768,mlp=3072,vocab=50257,context=1024"
        )
    found: dict[str, int] = {}
    for part in text.split(","):
        match = re.fullmatch(
            r"(layers|heads|width|mlp|vocab|context|parallel)=(\d{1,9})", part, re.A
        )
        if match is None or match[1] in found:
            raise CallError(
                f"--model-shape: {part[:40]!r} is not understood; write each of layers, heads, width, "
                "mlp, vocab and context once, as in layers=12,heads=12,width=768"
            )
        found[match[1]] = int(match[2])
    parallel = bool(found.pop("parallel", 0))
    return _checked(found, parallel, parallel, "--model-shape")


def _checked(sizes: dict[str, int], parallel: bool, rotary: bool, where: str) -> ModelShape:
    missing = [name for name in _MOST if name not in sizes]
    if missing:
        raise CallError(f"{where} lacks {', '.join(missing)}; give each as in {missing[0]}=12")
    for name, most in _MOST.items():
        if not 1 <= sizes[name] <= most:
            raise CallError(f"{where}: {name} must be 1 to {most:,}, got {sizes[name]}")
    if sizes["width"] % sizes["heads"]:
        raise CallError(
            f"{where}: a width of {sizes['width']} cannot be shared by {sizes['heads']} heads; "
            "give a multiple"
        )
    return ModelShape(
        sizes["layers"], sizes["heads"], sizes["width"], sizes["width"] // sizes["heads"],
        sizes["mlp"], sizes["vocab"], sizes["context"], parallel, rotary,
    )  # fmt: skip


_KEYS: dict[str, dict[str, str]] = {
    "gpt2": {"layers": "n_layer", "heads": "n_head", "width": "n_embd", "mlp": "n_inner",
             "vocab": "vocab_size", "context": "n_positions"},
    "gpt_neox": {"layers": "num_hidden_layers", "heads": "num_attention_heads",
                 "width": "hidden_size", "mlp": "intermediate_size", "vocab": "vocab_size",
                 "context": "max_position_embeddings"},
}  # fmt: skip


def shape_of_config(config: Any, where: str) -> ModelShape:
    """The sizes in a model's `config.json`, already read. Raises UnsupportedModelError."""
    kind = config.get("model_type") if isinstance(config, dict) else None
    keys = _KEYS.get(kind) if isinstance(kind, str) else None
    if keys is None:
        raise UnsupportedModelError(
            f"{where} is of type {str(kind)[:40]!r}; give --model a GPT-2 or GPT-NeoX model"
        )
    sizes = {name: config.get(key) for name, key in keys.items()}
    if sizes["mlp"] is None and isinstance(sizes["width"], int):
        sizes["mlp"] = 4 * sizes["width"]
    wrong = [keys[name] for name, value in sizes.items() if type(value) is not int]
    if wrong:
        raise UnsupportedModelError(
            f"{where} has no whole number for {', '.join(wrong)}; give --model a whole model folder"
        )
    is_neox = kind == "gpt_neox"
    parallel = is_neox and bool(config.get("use_parallel_residual", True))
    try:
        return _checked(sizes, parallel, is_neox, where)  # type: ignore[arg-type]
    except CallError as error:
        raise UnsupportedModelError(str(error)) from error


def config_path(source: str) -> Path | None:
    """The `config.json` of a local folder or of a hub model in the hub's own cache; nothing is
    downloaded. None where there is none."""
    folder = Path(os.path.expanduser(source))
    if folder.is_dir():
        path = folder / "config.json"
        return path if path.is_file() else None
    if source.count("/") > 1 or source.startswith((".", "/", "~")) or not source.strip():
        return None
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(source, "config.json")
    except HFValidationError:
        return None
    return Path(found) if isinstance(found, str) else None


def shape_of_model(source: str) -> ModelShape:
    """The sizes of `--model`, from its configuration alone; a known name needs no download."""
    path = config_path(source)
    if path is None:
        name = source.rsplit("/", 1)[-1].removesuffix("-deduped")
        if name in NAMED and not Path(os.path.expanduser(source)).exists():
            return NAMED[name]
        raise CallError(
            f"no configuration of {source[:80] or '(empty)'} on this machine; give --model a folder with "
            "config.json, or --model-shape"
        )
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UnsupportedModelError(f"{path} is not JSON; give --model a whole folder") from error
    return shape_of_config(config, str(path))


def n_weights(shape: ModelShape) -> int:
    """Numbers in a loaded model; token embedding and unembedding apart, as folding leaves them."""
    attention = 4 * shape.d_model * shape.n_heads * shape.d_head + 4 * shape.d_model
    mlp = 2 * shape.d_model * shape.d_mlp + shape.d_mlp + shape.d_model
    positions = 0 if shape.rotary else shape.n_ctx * shape.d_model
    return shape.n_layers * (attention + mlp) + 2 * shape.d_vocab * shape.d_model + positions
