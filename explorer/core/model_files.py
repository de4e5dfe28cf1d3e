"""From a folder or hub name to loaded parts: safetensors alone, no remote code, nothing unpickled."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from explorer.core.errors import (
    ExplorerError,
    ModelNotFoundError,
    OtherWeightsError,
    UnsupportedModelError,
    first_line,
)
from explorer.core.halving import is_out_of_memory
from explorer.core.model_safety import check_folder

LIBRARY_ERRORS = (
    ArithmeticError, AssertionError, AttributeError, LookupError, OSError, RuntimeError, TypeError,
    ValueError,
)  # fmt: skip
"""What the model libraries raise for a model that they, or we, do not understand."""
_SETTINGS = ("config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
_HUB_PATTERNS = ["*.json", "*.safetensors", "*.txt", "*.model"]


@dataclass(frozen=True)
class ModelParts:
    """What loading leaves: the bridge (weights as they are, not yet folded) and where it came from."""

    bridge: Any
    tokenizer: Any
    folder: Path
    name: str
    revision: str | None
    weights_sha256: str
    probe: Tensor
    """A short sequence of token ids, `[1 pos]`."""
    predictions: Tensor
    """Log-probabilities after each of them, by the model's own code, before anything was changed."""


def resolve_device(device: str) -> str:
    """`auto` is CUDA where there is one. Raises ValueError for CUDA without one."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("no CUDA device is available; use --device cpu")
    if device not in ("cpu", "cuda"):
        raise ValueError(f"expected a device of auto, cpu or cuda, got {device[:20]!r}")
    return device


def _looks_like_path(source: str) -> bool:
    return source.startswith((".", "/", "~")) or source.count("/") > 1 or "\\" in source


def find_folder(source: str) -> tuple[Path, str | None]:
    """The local folder of a model and its hub revision (None for a local one).

    A hub name is downloaded (safetensors and tokenizer alone) into the hub's own cache.
    """
    folder = Path(os.path.expanduser(source))
    if source.strip() and folder.is_dir():
        return folder, None
    if _looks_like_path(source) or not source.strip():
        raise ModelNotFoundError(
            f"no model folder at {source or '(empty)'}; give --model a Hugging Face folder or hub name"
        )
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        found = Path(snapshot_download(source, allow_patterns=_HUB_PATTERNS))
    except (HfHubHTTPError, LocalEntryNotFoundError, HFValidationError, OSError) as error:
        raise ModelNotFoundError(
            f"no folder and no reachable hub model called {source} ({first_line(error, 200)}); check the "
            "name and the network, or give --model a local folder"
        ) from error
    return found, found.name


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a folder, by name. Raises where there are none."""
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise UnsupportedModelError(
            f"{folder} has no weights as safetensors; convert them with transformers' save_pretrained"
        )
    return files


def sha256_of_weights(folder: Path) -> str:
    """SHA-256 over the bytes of all safetensors files in name order (for one file: its own)."""
    digest = hashlib.sha256()
    for path in weight_files(folder):
        with path.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def _predict(hf_model: Any) -> tuple[Tensor, Tensor]:
    """A short sequence and its log-probabilities by the model's own code."""
    config = hf_model.config
    length = min(8, getattr(config, "max_position_embeddings", None) or 8)
    probe = torch.arange(1, 1 + length)[None] % config.vocab_size
    with torch.no_grad():
        return probe, hf_model(probe).logits.log_softmax(-1)


def unsupported(source: str, error: BaseException) -> ExplorerError:
    """A library's error in one line that says what to do."""
    if is_out_of_memory(error):
        return ExplorerError(
            f"not enough memory to load {source}; use a machine or GPU with more, or a smaller model"
        )
    reason = first_line(error, 240)
    return UnsupportedModelError(
        f"{source} cannot be loaded as a causal language model ({reason}); give --model a "
        "Hugging Face folder of a GPT-2 or GPT-NeoX model with config.json, safetensors and "
        "tokenizer.json"
    )


def sha256_of_settings(folder: Path) -> str:
    """SHA-256 over what shapes a model beside its weights: its configuration and its tokenizer."""
    digest = hashlib.sha256()
    for name in _SETTINGS:
        raw = (folder / name).read_bytes() if (folder / name).is_file() else b""
        digest.update(len(raw).to_bytes(8, "little") + raw)
    return digest.hexdigest()


def load_parts(source: str, device: str, expected_sha256: str | None = None) -> ModelParts:
    """Load model and tokenizer in float32. Raises ModelNotFoundError or UnsupportedModelError.

    Weights with another checksum than `expected_sha256` are not loaded: OtherWeightsError.
    """
    folder, revision = find_folder(source)
    weight_files(folder)
    check_folder(folder)
    sha256 = sha256_of_weights(folder)
    if expected_sha256 is not None and sha256 != expected_sha256:
        raise OtherWeightsError(source, sha256, expected_sha256)
    from huggingface_hub.errors import StrictDataclassError
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging as hf_logging

    hf_logging.disable_progress_bar()
    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            folder,
            use_safetensors=True,
            trust_remote_code=False,
            dtype=torch.float32,
            attn_implementation="eager",
            local_files_only=True,
            output_loading_info=True,
        )
        hf_model, loading = loaded
        if loading["missing_keys"]:
            # The library would fill them with random numbers.
            raise ValueError(f"the weights lack {min(loading['missing_keys'])}")
        tokenizer = AutoTokenizer.from_pretrained(
            folder, trust_remote_code=False, local_files_only=True
        )
        probe, predictions = _predict(hf_model)
        from transformer_lens.model_bridge import TransformerBridge

        # The library leaves a model that it is handed where it lies.
        bridge = TransformerBridge.boot_transformers(
            str(folder), device=device, hf_model=hf_model.to(device), tokenizer=tokenizer
        )
    except (
        *LIBRARY_ERRORS,
        ImportError,
        MemoryError,
        SafetensorError,
        StrictDataclassError,
    ) as error:
        raise unsupported(source, error) from error
    name = source.rstrip("/").rsplit("/", 1)[-1] if revision else _local_name(folder)
    return ModelParts(bridge, tokenizer, folder, name, revision, sha256, probe, predictions)


def _local_name(folder: Path) -> str:
    """The folder's name; a folder called just `model` is named after its parent as well."""
    folder = folder.resolve()
    return f"{folder.parent.name} {folder.name}" if folder.name == "model" else folder.name
