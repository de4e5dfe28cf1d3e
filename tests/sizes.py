"""How much the heavy tests do: a little under `make test`, all of it under `make soak` (SOAK=1)."""

from __future__ import annotations

import os

SOAK = os.environ.get("SOAK") == "1"
