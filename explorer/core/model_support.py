"""What a model must be for the mathematics to hold, and the check that it does hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from explorer.core.errors import UnsupportedModelError
from explorer.core.types import ModelShape, NeuronId

if TYPE_CHECKING:
    from explorer.core.model import LanguageModel

_ADVICE = "; choose a model with plain MLP blocks and layer norms, such as GPT-2 or Pythia"


def shape_of(bridge: Any) -> ModelShape:
    cfg = bridge.cfg
    return ModelShape(
        n_layers=cfg.n_layers,
        n_heads=cfg.n_heads,
        d_model=cfg.d_model,
        d_head=cfg.d_head,
        d_mlp=cfg.d_mlp or 4 * cfg.d_model,
        d_vocab=cfg.d_vocab,
        n_ctx=cfg.n_ctx,
        parallel_blocks=bool(cfg.parallel_attn_mlp),
        rotary=cfg.positional_embedding_type == "rotary",
    )


def _missing_property(bridge: Any) -> str | None:
    """The first property that the mathematics needs and the model lacks, in words; else None."""
    cfg = bridge.cfg
    get = lambda name, default=None: getattr(cfg, name, default)  # noqa: E731
    checks = (
        (
            not any(name.endswith("attn.hook_z") for name in bridge.hook_dict),
            "has no attention heads whose outputs can be read",
        ),
        (get("attn_only"), "has no MLP neurons (attention only)"),
        (bool(get("num_experts")), "has a mixture of experts instead of one MLP a layer"),
        (get("gated_mlp"), "has a gated MLP: a neuron's input is a product, not a sum"),
        (
            get("uses_rms_norm") or "RMS" in str(get("normalization_type")),
            "has RMS norms instead of layer norms",
        ),
        (
            str(get("normalization_type")) not in ("LN", "LNPre"),
            "has no layer norm before its MLPs",
        ),
        (
            get("use_normalization_before_and_after")
            or not getattr(bridge.original_model.config, "do_layer_norm_before", True),
            "has norms after its blocks",
        ),
        (
            get("positional_embedding_type") not in ("standard", "rotary"),
            f"has {get('positional_embedding_type')} positions (neither learned nor rotary)",
        ),
        (get("attention_dir", "causal") != "causal", "is not causal"),
        (get("use_local_attn"), "has local attention windows"),
        (bool(get("scale_embedding")), "scales its embeddings"),
        ((get("output_logits_soft_cap") or 0) > 0, "caps its logits"),
    )
    found = next((words for fails, words in checks if fails), None)
    if found:
        return found
    for name in (
        "attn.hook_z",
        "attn.hook_pattern",
        "ln2.hook_scale",
        "mlp.hook_pre",
        "mlp.hook_post",
    ):
        if not all(f"blocks.{n}.{name}" in bridge.hook_dict for n in range(cfg.n_layers)):
            return (
                "has no layer norm of its own before each MLP"
                if "ln2" in name
                else (f"has no readable {name.removesuffix('.hook')} in every block")
            )
    return None


def check_supported(bridge: Any) -> None:
    """Raise UnsupportedModelError that says which property is missing."""
    missing = _missing_property(bridge)
    if missing:
        raise UnsupportedModelError(f"{bridge.cfg.model_name or 'the model'} {missing}{_ADVICE}")


def check_completeness(model: LanguageModel) -> None:
    """Run one short prompt and check that the parts sum to the pre-activation.

    A last line of defence against model families whose blocks differ in a way that no property
    above names: better refused than shown wrongly.
    """
    layers = sorted({0, model.shape.n_layers - 1})
    prompt = [(7 * i + 1) % model.shape.d_vocab for i in range(min(6, model.max_prompt_tokens))]
    neurons = [NeuronId(layer, 0) for layer in layers]
    tokens, last = model.batch([prompt] * len(neurons))
    trace = model.trace(tokens, last, neurons)
    for row, neuron in enumerate(neurons):
        parts = trace.attribute(slice(row, row + 1), model.reader(neuron), neuron.layer)
        total = float(parts.total[0])
        gap = abs(total - float(trace.pre_activation[row]))
        if not gap <= 1e-3 * max(1.0, abs(total)):
            raise UnsupportedModelError(
                f"{model.name}: the parts do not sum to the pre-activation of {neuron} (they miss it "
                f"by {gap:.3g}), so contributions would be wrong{_ADVICE}"
            )
