"""Task prompts answered twice: by the model as it is, and with components' activations scaled at END.

Every prompt gets the same factors whatever its answer, so that what comes out is an accuracy of the
changed model, unlike steering (`steering`), which looks at the answer to choose.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from explorer.core.component_edit import ComponentEdit
from explorer.core.model_component_edit import ComponentDials
from explorer.core.steps import Steps
from explorer.core.task_runs import Judged, joined, judge
from explorer.core.tasks import TaskPrompt
from explorer.core.types import HeadId


@dataclass(frozen=True)
class Dialled:
    """Answers with and without the dials turned, prompt by prompt, and what the dials turned."""

    clean: Judged
    dialled: Judged
    activations: Float[np.ndarray, "prompt component"]
    """Clean activations at END of the components dialled, in their order; residual-stream units."""


def dialled_answers(
    dials: ComponentDials,
    prompts: Sequence[TaskPrompt],
    factors: Sequence[tuple[HeadId, int, float]],
    chunk: int = 24,
) -> Steps[Dialled]:
    """Answers as they are and with each component's activation at the last position times its factor
    (0 removes it, 1 leaves it); one step for each `chunk` of prompts, in order of length. Callers hold
    the model's lock during each step."""
    if not prompts:
        raise ValueError("expected at least one prompt")
    edits = [ComponentEdit(head, index, scale=factor) for head, index, factor in factors]
    first = min((head.layer for head, _, _ in factors), default=len(dials.blocks.blocks) - 1)
    order = sorted(range(len(prompts)), key=lambda i: (len(prompts[i].token_ids), i))
    parts = [order[i : i + chunk] for i in range(0, len(order), chunk)]
    clean, dialled, activations = [], [], []
    for done, rows in enumerate(parts, start=1):
        mine = [prompts[i] for i in rows]
        runs = dials.clean([p.token_ids for p in mine], first)
        clean.append(judge(runs.edited([]).logits, mine))
        dialled.append(judge(runs.edited(edits).logits, mine) if edits else clean[-1])
        own = [runs.activations(head)[:, i].cpu().numpy() for head, i, _ in factors]
        activations.append(np.stack(own, axis=1) if own else np.zeros((len(mine), 0)))
        yield done, len(parts)
    places = [np.array(rows) for rows in parts]
    back = np.concatenate(places).argsort()
    return Dialled(
        joined(clean, places), joined(dialled, places), np.concatenate(activations)[back]
    )
