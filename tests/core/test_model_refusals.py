"""What the mathematics does not cover is refused by name; nothing is unpickled, nothing guessed."""

from __future__ import annotations

import hashlib
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from explorer.core.errors import ExplorerError, ModelNotFoundError, UnsupportedModelError
from explorer.core.model import load_model
from explorer.core.model_files import resolve_device
from tests.conftest import randomise
from tests.core.conftest import Pair

SMALL = {"vocab_size": 505, "hidden_size": 32, "num_hidden_layers": 2, "bos_token_id": 0}


def _llama() -> torch.nn.Module:
    from transformers import LlamaConfig, LlamaForCausalLM

    return LlamaForCausalLM(LlamaConfig(
        **SMALL, intermediate_size=64, num_attention_heads=4, max_position_embeddings=48,
    ))  # fmt: skip


def _mamba() -> torch.nn.Module:
    from transformers import MambaConfig, MambaForCausalLM

    return MambaForCausalLM(MambaConfig(**SMALL, state_size=4))


def _bloom() -> torch.nn.Module:
    from transformers import BloomConfig, BloomForCausalLM

    return BloomForCausalLM(BloomConfig(
        vocab_size=505, hidden_size=32, n_layer=2, n_head=4, bos_token_id=0,
    ))  # fmt: skip


def _rwkv() -> torch.nn.Module:
    from transformers import RwkvConfig, RwkvForCausalLM

    return RwkvForCausalLM(RwkvConfig(**SMALL, context_length=48))


def _gpt2_with_unscaled_attention() -> torch.nn.Module:
    """A switch in the configuration that the model library does not know of."""
    from transformers import GPT2Config, GPT2LMHeadModel

    model = GPT2LMHeadModel(GPT2Config(
        vocab_size=505, n_embd=32, n_layer=2, n_head=4, n_positions=48, bos_token_id=0,
        scale_attn_weights=False,
    ))  # fmt: skip
    randomise(model, 3)
    return model


def _openai_gpt() -> torch.nn.Module:
    """Layer norms after attention and MLP, and none at the end."""
    from transformers import OpenAIGPTConfig, OpenAIGPTLMHeadModel

    return OpenAIGPTLMHeadModel(OpenAIGPTConfig(
        vocab_size=505, n_embd=32, n_layer=2, n_head=4, n_positions=48,
    ))  # fmt: skip


def _mixtral() -> torch.nn.Module:
    from transformers import MixtralConfig, MixtralForCausalLM

    return MixtralForCausalLM(MixtralConfig(
        **SMALL, intermediate_size=64, num_attention_heads=4, num_key_value_heads=4,
        max_position_embeddings=48, num_local_experts=2,
    ))  # fmt: skip


def _opt() -> torch.nn.Module:
    """Layer norms after the blocks: what reads a residual there is no sum of parts."""
    from transformers import OPTConfig, OPTForCausalLM

    return OPTForCausalLM(OPTConfig(
        **SMALL, ffn_dim=64, num_attention_heads=4, max_position_embeddings=48,
        do_layer_norm_before=False, word_embed_proj_dim=32, pad_token_id=1,
    ))  # fmt: skip


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (_llama, "gated MLP|RMS norm"), (_mamba, "no attention heads"), (_rwkv, "no attention heads"),
        (_bloom, "alibi positions"), (_mixtral, "experts"), (_opt, "norms after its blocks"),
        (_gpt2_with_unscaled_attention, "predicts otherwise than the model's own code"),
        (_openai_gpt, "cannot be loaded as a causal language model"),
    ],
)  # fmt: skip
def test_other_families_are_refused_with_the_property_named(
    make: Callable[[], torch.nn.Module], words: str, tiny_tokenizer: object, tmp_path: Path
) -> None:
    make().save_pretrained(tmp_path)
    tiny_tokenizer.save_pretrained(tmp_path)  # type: ignore[attr-defined]
    with pytest.raises(UnsupportedModelError, match=words) as error:
        load_model(tmp_path, device="cpu")
    assert "\n" not in str(error.value)
    assert "GPT-2" in str(error.value) or "--model" in str(error.value)


class _Trap:
    """Unpickling it writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (_spring, (str(self.path),))


def _spring(path: str) -> dict[str, object]:
    Path(path).write_text("sprung")
    return {}


def test_pickled_weights_are_refused_and_never_unpickled(gpt2_pair: Pair, tmp_path: Path) -> None:
    folder, sprung = tmp_path / "model", tmp_path / "sprung"
    shutil.copytree(gpt2_pair.folder, folder)
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(_Trap(sprung)))
    with pytest.raises(UnsupportedModelError, match="no weights as safetensors; convert them"):
        load_model(folder, device="cpu")
    assert not sprung.exists()
    # Beside safetensors a pickle is passed over.
    shutil.copy(gpt2_pair.folder / "model.safetensors", folder)
    load_model(folder, device="cpu")
    assert not sprung.exists()
    # Control: the trap does spring.
    pickle.loads((folder / "pytorch_model.bin").read_bytes())  # noqa: S301
    assert sprung.exists()


def test_code_inside_a_folder_is_never_run(gpt2_pair: Pair, tmp_path: Path) -> None:
    """A config that names a class in a file of its own: the file is not imported."""
    folder, sprung = tmp_path / "model", tmp_path / "sprung"
    shutil.copytree(gpt2_pair.folder, folder)
    config = (folder / "config.json").read_text()
    remote = '"auto_map": {"AutoModelForCausalLM": "own.Own", "AutoConfig": "own.OwnConfig"},'
    (folder / "own.py").write_text(f"open({str(sprung)!r}, 'w').close()\n")
    (folder / "config.json").write_text("{" + remote + config.strip().removeprefix("{"))
    assert load_model(folder, device="cpu").shape.n_layers == 3
    changed = (folder / "config.json").read_text().replace('"gpt2"', '"not-in-the-library"')
    (folder / "config.json").write_text(changed)
    with pytest.raises(UnsupportedModelError, match="cannot be loaded"):
        load_model(folder, device="cpu")
    assert not sprung.exists()
    # Control: the file does spring when it is run.
    exec((folder / "own.py").read_text())
    assert sprung.exists()


@pytest.mark.parametrize("source", ["", "  ", "/no/such/folder", "./nowhere", "a/b/c", "~/no-such"])
def test_a_missing_folder_is_named(source: str) -> None:
    with pytest.raises(ModelNotFoundError, match="give --model a Hugging Face folder"):
        load_model(source, device="cpu")


def _damage(folder: Path, name: str, content: bytes | None) -> None:
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(content)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.json", None), ("config.json", b"{"), ("config.json", b"[]"),
        ("config.json", b'{"model_type": "gpt2", "n_layer": "many"}'),
        ("model.safetensors", b""), ("model.safetensors", b"\x08\0\0\0\0\0\0\0garbage!"),
        ("tokenizer.json", b"{}"), ("tokenizer.json", None),
    ],
)  # fmt: skip
def test_a_damaged_folder_is_one_line_and_no_traceback(
    gpt2_pair: Pair, tmp_path: Path, name: str, content: bytes | None
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(gpt2_pair.folder, folder)
    _damage(folder, name, content)
    with pytest.raises(ExplorerError) as error:
        load_model(folder, device="cpu")
    assert "\n" not in str(error.value)
    assert "--model" in str(error.value) or "safetensors" in str(error.value)


def test_truncated_weights_are_refused(gpt2_pair: Pair, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(gpt2_pair.folder, folder)
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UnsupportedModelError, match="cannot be loaded"):
        load_model(folder, device="cpu")


def test_weights_that_are_missing_are_not_made_up(gpt2_pair: Pair, tmp_path: Path) -> None:
    """A folder without one layer's weights would get random ones; that is no model to study."""
    folder = tmp_path / "model"
    shutil.copytree(gpt2_pair.folder, folder)
    weights = load_file(folder / "model.safetensors")
    dropped = next(name for name in weights if "h.1.mlp.c_fc.weight" in name)
    del weights[dropped]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(UnsupportedModelError, match=r"h\.1\.mlp\.c_fc\.weight"):
        load_model(folder, device="cpu")


def test_a_tokenizer_of_another_model_is_refused(gpt2_pair: Pair, tmp_path: Path) -> None:
    """Ids past the embedding would crash a run, or read another token's row."""
    from transformers import AutoModelForCausalLM

    hf = AutoModelForCausalLM.from_pretrained(gpt2_pair.folder)
    for n_rows in (500, 499):
        folder = tmp_path / str(n_rows)
        shutil.copytree(gpt2_pair.folder, folder)
        hf.resize_token_embeddings(n_rows)
        hf.save_pretrained(folder)
        if n_rows == 500:
            assert load_model(folder, device="cpu").shape.d_vocab == 500
        else:
            with pytest.raises(UnsupportedModelError, match=r"ids up to 499.*499 rows"):
                load_model(folder, device="cpu")


def test_weights_that_are_not_finite_are_refused(gpt2_pair: Pair, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(gpt2_pair.folder, folder)
    weights = load_file(folder / "model.safetensors")
    name = next(name for name in weights if name.endswith("h.0.attn.c_proj.weight"))
    weights[name][0, 0] = float("nan")
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(UnsupportedModelError):
        load_model(folder, device="cpu")


def test_the_hash_is_that_of_the_weight_files(gpt2_pair: Pair, tmp_path: Path) -> None:
    weights = (gpt2_pair.folder / "model.safetensors").read_bytes()
    assert gpt2_pair.model.weights_sha256 == hashlib.sha256(weights).hexdigest()
    # In shards: over their bytes, in name order.
    shutil.copytree(gpt2_pair.folder, tmp_path / "sharded")
    (tmp_path / "sharded" / "model.safetensors").unlink()
    gpt2_pair.raw.hf.float().save_pretrained(tmp_path / "sharded", max_shard_size="60KB")
    gpt2_pair.raw.hf.double()
    shards = sorted((tmp_path / "sharded").glob("*.safetensors"))
    assert len(shards) > 1
    joined = hashlib.sha256(b"".join(path.read_bytes() for path in shards)).hexdigest()
    assert load_model(tmp_path / "sharded", device="cpu").weights_sha256 == joined
    assert joined != gpt2_pair.model.weights_sha256


def test_devices() -> None:
    assert resolve_device("cpu") == "cpu"
    assert resolve_device("auto") == ("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.raises(ValueError, match="auto, cpu or cuda"):
        resolve_device("tpu")
