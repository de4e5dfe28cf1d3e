"""A model's folder from a stranger: its safetensors weights are read, no code of it runs."""

from __future__ import annotations

import json
import pickle
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open

from explorer.core.errors import ExplorerError, OtherWeightsError, UnsupportedModelError
from explorer.core.model import load_model
from explorer.core.model_files import sha256_of_weights
from tests.fuzz.hostile import controls

CLASSES = """
from transformers import GPT2Config, GPT2LMHeadModel
class Settings(GPT2Config):
    model_type = "evil"
class Model(GPT2LMHeadModel):
    config_class = Settings
class Words:
    pass
"""
AUTO_MAP = {"AutoConfig": "evil.Settings", "AutoModelForCausalLM": "evil.Model"}


class Stranger:
    """A model's folder to spoil, and a mark that its code leaves where it runs."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.mark = folder, folder.parent / "ran"
        self.code = f"open({str(self.mark)!r}, 'w').close()\n"
        (folder / "evil.py").write_text(self.code + CLASSES)

    def settings(self, name: str = "config.json", **changes: Any) -> None:
        path = self.folder / name
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    def pickle_to(self, name: str) -> None:
        (self.folder / name).write_bytes(pickle.dumps(_Runs(self.code)))

    def index(self, file: str) -> None:
        """Let an index say that every weight lies in `file`; the real ones are renamed."""
        weights = self.folder / "model.safetensors"
        with safe_open(weights, "pt") as opened:
            named = dict.fromkeys(opened.keys(), file)
        weights.rename(self.folder / "decoy.safetensors")
        text = json.dumps({"metadata": {}, "weight_map": named})
        (self.folder / "model.safetensors.index.json").write_text(text)


class _Runs:
    def __init__(self, code: str) -> None:
        self.code = code

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return exec, (self.code,)


@pytest.fixture
def stranger(gpt2_folder: Path, tmp_path: Path) -> Stranger:
    shutil.copytree(gpt2_folder, tmp_path / "model")
    return Stranger(tmp_path / "model")


def assert_refused(folder: Path, *words: str) -> None:
    with pytest.raises(UnsupportedModelError) as error:
        load_model(folder)
    line = str(error.value)
    assert "\n" not in line and all(word in line for word in words), line


def test_code_of_a_folder_is_not_run(stranger: Stranger) -> None:
    stranger.settings(model_type="evil", auto_map=AUTO_MAP)
    assert_refused(stranger.folder, "cannot be loaded")
    assert not stranger.mark.exists()
    # The control: trusted, the same folder does run its code.
    from transformers import AutoModelForCausalLM

    AutoModelForCausalLM.from_pretrained(stranger.folder, trust_remote_code=True)
    assert stranger.mark.exists()


def test_code_beside_a_known_model_is_passed_over(stranger: Stranger) -> None:
    stranger.settings(auto_map=AUTO_MAP, trust_remote_code=True)
    stranger.settings("tokenizer_config.json", auto_map={"AutoTokenizer": ["evil.Words", None]},
                      trust_remote_code=True)  # fmt: skip
    try:
        load_model(stranger.folder)
    except ExplorerError as error:
        assert "\n" not in str(error)
    assert not stranger.mark.exists()


@pytest.mark.parametrize(
    "name", ["pytorch_model.bin", "model.pt", "tokenizer.pkl", "training_args.bin"]
)
def test_a_pickle_beside_the_weights_is_not_opened(stranger: Stranger, name: str) -> None:
    stranger.pickle_to(name)
    load_model(stranger.folder)
    assert not stranger.mark.exists()
    pickle.loads((stranger.folder / name).read_bytes())  # noqa: S301 the control: it would run
    assert stranger.mark.exists()


def test_weights_of_another_checksum_are_not_opened(stranger: Stranger) -> None:
    """Had they been, the error would be that they are no safetensors."""
    expected = sha256_of_weights(stranger.folder)
    assert load_model(stranger.folder, expected_sha256=expected).weights_sha256 == expected
    stranger.pickle_to("model.safetensors")
    with pytest.raises(OtherWeightsError, match=f"the run has {expected[:12]}"):
        load_model(stranger.folder, expected_sha256=expected)
    assert_refused(stranger.folder, "cannot be loaded")  # the control: asked for no checksum


@pytest.mark.parametrize("decoy", [True, False])
def test_a_pickle_in_place_of_the_weights_is_refused(stranger: Stranger, decoy: bool) -> None:
    weights = stranger.folder / "model.safetensors"
    if decoy:
        weights.rename(stranger.folder / "decoy.safetensors")
        stranger.pickle_to("pytorch_model.bin")
    else:
        stranger.pickle_to("model.safetensors")
    assert_refused(stranger.folder, "safetensors")
    assert not stranger.mark.exists()


@pytest.mark.parametrize(
    "file",
    ["../outside.safetensors", "{out}/outside.safetensors", "x.bin", "pytorch_model.bin", "",
     "..", "a/b.safetensors", "..\\outside.safetensors"],
)  # fmt: skip
def test_an_index_names_weights_of_the_folder_alone(stranger: Stranger, file: str) -> None:
    """Else the checksum, which is over the folder's files, would be of others than are loaded."""
    out = stranger.folder.parent
    shutil.copy(stranger.folder / "model.safetensors", out / "outside.safetensors")
    stranger.pickle_to("x.bin")
    stranger.index(file.format(out=out))
    assert_refused(stranger.folder, "index.json", "no safetensors")
    assert not stranger.mark.exists()


def test_an_index_of_its_own_files_is_read(stranger: Stranger) -> None:
    """The control, and the way large models come: the library does follow the index."""
    before = sha256_of_weights(stranger.folder)
    stranger.index("decoy.safetensors")
    assert load_model(stranger.folder).weights_sha256 == before


@pytest.mark.parametrize(
    "changes",
    [
        {"attn_implementation": "evil/kernel"}, {"_attn_implementation": "evil/kernel"},
        {"text_config": {"attn_implementation": "evil/kernel@v1:f"}}, {"use_kernels": True},
        {"experts_implementation": "evil/kernel"}, {"quantization_config": {"quant_method": "gptq"}},
        {"quantization_config": {"quant_method": "evil"}}, {"attn_implementation": {"a": "b/c"}},
    ],
)  # fmt: skip
def test_code_from_elsewhere_is_refused_by_its_name(
    stranger: Stranger, changes: dict[str, Any]
) -> None:
    stranger.settings(**changes)
    assert_refused(stranger.folder, "takes code from elsewhere")


def test_an_adapter_is_refused(stranger: Stranger) -> None:
    (stranger.folder / "adapter_config.json").write_text(
        '{"base_model_name_or_path": "evil/model"}'
    )
    assert_refused(stranger.folder, "adapter")


@pytest.mark.parametrize(
    "changes",
    [
        {"model_type": "\x1b[31m\nevil\u202e"}, {"activation_function": "\x1b[31m"}, {"n_head": -1},
        {"n_head": 0}, {"n_layer": "3"}, {"n_embd": None}, {"vocab_size": 10**12}, {"n_positions": 0},
        {"model_type": None}, {"model_type": ["gpt2"]}, {"torch_dtype": "evil"}, {"architectures": 5},
    ],
)  # fmt: skip
def test_settings_that_are_wrong_are_one_line(
    stranger: Stranger, changes: dict[str, Any], capfd: pytest.CaptureFixture[str]
) -> None:
    stranger.settings(**changes)
    try:
        load_model(stranger.folder)
    except ExplorerError as error:
        assert "\n" not in str(error)
    assert controls("".join(capfd.readouterr())) == set()


def _header(folder: Path) -> tuple[dict[str, Any], bytes]:
    raw = (folder / "model.safetensors").read_bytes()
    (size,) = struct.unpack("<Q", raw[:8])
    return json.loads(raw[8 : 8 + size]), raw[8 + size :]


def _first(change: dict[str, Any]) -> Callable[[dict[str, Any]], Any]:
    def spoil(header: dict[str, Any]) -> Any:
        header[min(name for name in header if name != "__metadata__")] |= change
        return header

    return spoil


LIES: dict[str, tuple[Callable[[dict[str, Any]], Any], int | None]] = {
    "length past the end": (lambda header: header, 2**32),
    "length that is none": (lambda header: header, 2**63),
    "no JSON": (lambda _: b"{" * 100, None),
    "nested": (lambda _: b'{"a":' * 5000 + b"1" + b"}" * 5000, None),
    "offsets past the end": (_first({"data_offsets": [0, 10**15]}), None),
    "offsets below zero": (_first({"data_offsets": [-5, 3]}), None),
    "offsets of another": (_first({"data_offsets": [0, 4]}), None),
    "a shape too large": (_first({"shape": [2**40, 2**40]}), None),
    "another shape": (_first({"shape": [1]}), None),
    "unknown numbers": (_first({"dtype": "EVIL"}), None),
    "narrower numbers": (_first({"dtype": "U8"}), None),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_header_that_lies_is_refused(stranger: Stranger, lie: str) -> None:
    header, body = _header(stranger.folder)
    spoil, size = LIES[lie]
    spoiled = spoil(header)
    text = spoiled if isinstance(spoiled, bytes) else json.dumps(spoiled).encode()
    head = struct.pack("<Q", len(text) if size is None else size)
    (stranger.folder / "model.safetensors").write_bytes(head + text + body)
    assert_refused(stranger.folder, "header")
