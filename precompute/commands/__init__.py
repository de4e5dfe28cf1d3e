"""What `python -m precompute` does beside the job: one module a command, each with `run(argv) -> int`.

Mistakes in the call are raised as CallError (status 2), the rest as ExplorerError (status 1).
"""

COMMANDS = ("status", "clean", "plan", "verify")
