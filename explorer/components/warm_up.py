"""What the first page would wait for, done once while the browser loads its own half.

Imports, the first chart (Altair reads its schemas then) and a look at the folder of runs. Nothing
here loads the model, and nothing is kept that the pages do not keep themselves.
"""

from __future__ import annotations

from importlib import import_module

import pandas as pd

from explorer.charts.style import LIGHT
from explorer.charts.token_charts import layer_bars
from explorer.core.runs import list_runs
from explorer.resources.stores import store_folder

_MODULES = ("explorer.views.tokens", "streamlit.emojis")
"""The home page, and the table that Streamlit compiles for the first label of a button."""


def warm_up() -> None:
    """Do it. Takes about a second of one core."""
    for name in _MODULES:
        import_module(name)
    layers = pd.DataFrame({"layer": [0], "n": [1], "mean_n": [1.0]})
    layer_bars(layers, studied=[0], palette=LIGHT).to_dict(validate=False)
    list_runs(store_folder())
