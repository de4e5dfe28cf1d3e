"""How often the run's model did the tasks, from the store: shares with intervals beside chance.

Nothing here imports torch.
"""

from __future__ import annotations

import pandas as pd

from explorer.core.accuracy import Accuracy
from explorer.core.store import Store
from explorer.core.task_seen import UNKNOWN, Condition

GROUPS = {
    (True, True): "template and words seen",
    (False, True): "new template",
    (True, False): "new words",
    (False, False): "new template and words",
    (None, None): "training unknown",
}
"""What a prompt has in common with the task sentences of the model's training, as lines are named."""


def group_of(condition: Condition) -> str:
    """The line on which a condition stands; lengths are the axis."""
    return GROUPS[condition.template, condition.words]


def _with_shares(rows: pd.DataFrame) -> pd.DataFrame:
    """Counts with `group order length_seen share low high`, shares 0 to 1, intervals 95 %."""
    found = []
    names = list(GROUPS.values())
    for row in rows.to_dict("records"):
        condition = Condition.parse(str(row["condition"]))
        own = Accuracy(int(row["n_right"]), int(row["n_prompts"]), float(row["chance"]))
        low, high = own.interval
        group = group_of(condition)
        found.append(
            {**row, "group": group, "order": names.index(group), "length_seen": condition.length,
             "share": own.share, "low": low, "high": high}
        )  # fmt: skip
    columns = [*rows.columns, "group", "order", "length_seen", "share", "low", "high"]
    return pd.DataFrame(found, columns=pd.Index(columns))


def by_length(store: Store, task: str) -> pd.DataFrame:
    """A row for each condition and number of candidates `n`, over templates and places."""
    rows = _with_shares(store.task_accuracy(task))
    return rows.sort_values(["order", "n"], ignore_index=True)


def by_position(store: Store, task: str, n: int) -> pd.DataFrame:
    """A row for each condition and place of the answer, from 0, for one number of candidates."""
    rows = _with_shares(store.task_by_position(task, n))
    return rows.sort_values(["order", "position"], ignore_index=True)


def groups(rows: pd.DataFrame) -> list[str]:
    """The lines of a table in their order."""
    return [name for name in GROUPS.values() if name in set(rows["group"])]


def _answers(rows: pd.DataFrame) -> Accuracy | None:
    """Counts together, chance weighted by prompts; None without a row."""
    columns = (rows[name].tolist() for name in ("n_right", "n_prompts", "chance"))
    right, prompts, chances = columns
    if not prompts:
        return None
    guessed = sum(n * chance for n, chance in zip(prompts, chances, strict=True))
    return Accuracy(sum(right), sum(prompts), guessed / sum(prompts))


def accuracy(rows: pd.DataFrame, group: str, n: int | None = None) -> Accuracy | None:
    """A line's answers for one number of candidates, or over all of them; None where it has none."""
    mine = rows.query("group == @group")
    return _answers(mine if n is None else mine.query("n == @n"))


def is_known(rows: pd.DataFrame) -> bool:
    """Whether the model's folder said what its training saw."""
    return not set(rows["group"]) <= {group_of(UNKNOWN)}
