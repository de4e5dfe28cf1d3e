"""Which explainers a run asks for. Each is imported only when it is asked for."""

from __future__ import annotations

from precompute.config import parse_explainers
from precompute.explainers.protocol import Explainer
from precompute.job import Job


def explainers_of(job: Job) -> list[Explainer]:
    """The explainers of `--explainer`, in its order; none for `none`."""
    return [_make(name, job) for name in parse_explainers(job.config.explainer)]


def _make(name: str, job: Job) -> Explainer:
    if name == "contrast":
        from precompute.explainers.contrast import Contrast

        return Contrast()
    assert name == "openai", name
    from precompute.explainers import openai_client

    return openai_client.make(job)
