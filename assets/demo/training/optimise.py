"""The model, its two optimisers and the training loop."""

import math
from collections.abc import Callable, Iterable
from dataclasses import replace

import torch
from batches import Batch
from corpus import END_OF_TEXT_ID
from jaxtyping import Float
from settings import Settings, TrainingError
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR
from transformers import GPT2Config, GPT2LMHeadModel

OnStep = Callable[[int, float], None]
"""Called after every step with the number of steps done and the step's loss in nats a token."""


def build_model(settings: Settings) -> GPT2LMHeadModel:
    """A random GPT-2 with an unembedding of its own; the caller's random state is left alone."""
    config = GPT2Config(
        vocab_size=settings.vocab,
        n_positions=settings.context,
        n_embd=settings.width,
        n_layer=settings.layers,
        n_head=settings.heads,
        bos_token_id=END_OF_TEXT_ID,
        eos_token_id=END_OF_TEXT_ID,
        pad_token_id=END_OF_TEXT_ID,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        tie_word_embeddings=False,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        return GPT2LMHeadModel(config)


def require_muon() -> None:
    """Say early, and what to do, where the installed torch is too old for this training."""
    if not hasattr(torch.optim, "Muon"):
        raise TrainingError(
            f"torch {torch.__version__} has no Muon optimiser, which came with torch 2.9: "
            "run pip install 'torch>=2.9,<2.14'"
        )


def with_precision_for(settings: Settings, device: torch.device) -> Settings:
    """The settings with `auto` made bfloat16, or float32 on a CPU that only emulates bfloat16.

    Emulated, a step takes about twice the time. Versions of torch that cannot tell get float32.
    """
    if settings.precision != "auto":
        return settings
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()
    native = any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))
    fast = device.type != "cpu" or native
    return replace(settings, precision="bfloat16" if fast else "float32")


def build_optimisers(model: GPT2LMHeadModel, settings: Settings) -> tuple[Optimizer, Optimizer]:
    """Muon for the matrices inside the blocks; AdamW for embeddings, norms, biases, unembedding."""
    require_muon()
    matrices = {p for p in model.transformer.h.parameters() if p.ndim == 2}
    others = [p for p in model.parameters() if p not in matrices]
    muon = torch.optim.Muon(
        [_muon_group(p, settings.muon_lr) for p in model.parameters() if p in matrices],
        lr=settings.muon_lr,
        momentum=settings.muon_momentum,
        weight_decay=0.0,
    )
    return muon, torch.optim.AdamW(others, lr=settings.adamw_lr)


def _muon_group(matrix: torch.nn.Parameter, lr: float) -> dict:
    """One matrix with its rate.

    Muon means to scale a matrix's rate by sqrt(max(1, d_out / d_in)), and takes rows for outputs;
    GPT-2 stores (d_in, d_out). Its factor, sqrt(max(1, d_in / d_out)), times sqrt(d_out / d_in)
    is the one that was meant.
    """
    d_in, d_out = matrix.shape
    return {"params": [matrix], "lr": lr * math.sqrt(d_out / d_in)}


def rate_factor(step: int, n_steps: int, cooldown: float) -> float:
    """What the learning rates are multiplied by: 1, then linear to zero over the last `cooldown`.

    Zero is reached at `n_steps`, one past the last step.
    """
    falling = cooldown * n_steps
    return min(1.0, (n_steps - step) / falling) if falling > 0 else 1.0


def train(
    model: GPT2LMHeadModel,
    batches: Iterable[Batch],
    settings: Settings,
    device: torch.device,
    on_step: OnStep = lambda step, loss: None,
) -> None:
    """Train `model`, on `device` and in place, on one batch a step."""
    assert settings.precision != "auto", "call with_precision_for first"
    model.to(device).train()
    optimisers = build_optimisers(model, settings)
    schedules = [
        LambdaLR(o, lambda step: rate_factor(step, settings.n_steps, settings.cooldown))
        for o in optimisers
    ]
    for step, rows in enumerate(batches, start=1):
        try:
            loss = _learn_from(rows.to(device), model, settings)
        except torch.OutOfMemoryError as error:
            raise TrainingError("the GPU's memory is full: give fewer --rows") from error
        for part in (*optimisers, *schedules):
            part.step()
        model.zero_grad(set_to_none=True)
        if not math.isfinite(loss):
            raise TrainingError(
                f"the loss became {loss} at step {step}: try a smaller --muon-lr and --adamw-lr"
            )
        on_step(step, loss)


def _learn_from(rows: Batch, model: GPT2LMHeadModel, settings: Settings) -> float:
    """Leave the gradients of one batch in `model`; its loss is returned."""
    with torch.autocast(rows.device.type, torch.bfloat16, settings.precision == "bfloat16"):
        loss = next_token_loss(logits_of(model, rows), rows)
    loss.backward()
    return loss.item()


def logits_of(model: GPT2LMHeadModel, rows: Batch) -> Float[Tensor, "batch pos vocab"]:
    """The model's logits. All tokens are real: END_OF_TEXT, also the padding token, included."""
    return model(rows, attention_mask=torch.ones_like(rows)).logits


def next_token_loss(logits: Float[Tensor, "batch pos vocab"], rows: Batch) -> Float[Tensor, ""]:
    """Mean cross-entropy, in nats a token, of each row's tokens after its first."""
    return torch.nn.functional.cross_entropy(
        logits[:, :-1].float().flatten(0, 1), rows[:, 1:].flatten()
    )
