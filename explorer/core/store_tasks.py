"""Queries about the tasks that a run tried its model on. `Store` inherits them.

A run that left the tasks out, or whose model has too few whole words, has no rows, and so have these.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from explorer.core.tasks import TOP1

_SUMS = """
    SELECT {keys}, sum(a.n_prompts)::INTEGER AS n_prompts, sum(a.n_right)::INTEGER AS n_right,
           sum(b.n_right)::INTEGER AS n_top1, avg(a.chance) AS chance
    FROM task_results a JOIN task_results b
      ON b.task = a.task || ? AND b.template = a.template AND b.condition = a.condition
     AND b.n = a.n AND b.position = a.position
    WHERE a.task = ? {more} GROUP BY {keys} ORDER BY {keys}
"""


class TaskQueries(ABC):
    """What `Store` answers about tasks. Right: the answer outscores the other candidates."""

    @abstractmethod
    def sql(
        self, query: str, parameters: Sequence[Any] | Mapping[str, Any] = ()
    ) -> pd.DataFrame: ...

    def task_accuracy(self, task: str) -> pd.DataFrame:
        """Answers by condition and number of candidates, over templates and places: `condition n
        n_prompts n_right n_top1 chance`."""
        return self.sql(_SUMS.format(keys="a.condition, a.n", more=""), (TOP1, task))

    def task_by_position(self, task: str, n: int) -> pd.DataFrame:
        """Answers for one number of candidates, by condition and the answer's place: `condition
        position n_prompts n_right n_top1 chance`."""
        query = _SUMS.format(keys="a.condition, a.position", more="AND a.n = ?")
        return self.sql(query, (TOP1, task, n))
