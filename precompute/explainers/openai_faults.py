"""What can go wrong at an endpoint, told apart by what it means for the rest of the run."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

import openai

from precompute.explainers.openai_endpoint import Endpoint, is_quota
from precompute.explainers.openai_replies import shown
from precompute.explainers.protocol import ExplainerFailure

Kind = Literal["key", "model", "quota", "parameter", "reach", "busy", "request"]
"""`reach`: no reply came. `busy`: 408, 409, 429, 5xx, after all tries. `request`: about this call."""

# What may be left out where an endpoint does not know it, and other words by which errors name it.
LEAVABLE = {
    "temperature": r"temperature",
    "response_format": r"response_format|json_schema|structured[ _]outputs?",
    "max_completion_tokens": r"max_completion_tokens",
    "max_tokens": r"max_tokens",
}
_SHOWN_CHARACTERS = 160


class Fault(ExplainerFailure):
    """A call without a reply. `kind` says what it means, the text why, in one redacted line."""

    def __init__(self, reason: str, kind: Kind, parameter: str = "") -> None:
        super().__init__(reason)
        self.kind = kind
        self.parameter = parameter
        """The parameter that the endpoint does not accept, for kind `parameter`."""


def _details(error: openai.APIStatusError) -> Mapping[str, Any]:
    return error.body if isinstance(error.body, Mapping) else {}


def _parameter(details: Mapping[str, Any], request: Mapping[str, Any]) -> str:
    """Which of the parameters sent an error names: its `param`, else the first in its text."""
    if str(details.get("code")) == "context_length_exceeded":
        return ""  # about this prompt, whatever the text goes on to name
    sent = [name for name in LEAVABLE if name in request]
    param = re.split(r"[.\[]", str(details.get("param") or ""))[0]
    if param in sent:
        return param
    message = details.get("message")
    text = message if isinstance(message, str) else str(dict(details))
    found = {
        match.start(): name
        for name in sent
        if (match := re.search(rf"(?<![a-z_])(?:{LEAVABLE[name]})(?![a-z_])", text, re.I))
    }
    return found[min(found)] if found else ""


def _is_about_the_model(error: openai.APIStatusError, details: Mapping[str, Any]) -> bool:
    named = (details.get("code") == "model_not_found", details.get("param") == "model")
    return error.status_code == 404 or any(named)


def _kind(error: openai.APIStatusError, parameter: str) -> Kind:
    details = _details(error)
    if error.status_code == 402 or is_quota(details):
        return "quota"
    if _is_about_the_model(error, details):
        return "model"
    if error.status_code in (401, 403):
        return "key"
    if error.status_code in (408, 409, 429) or error.status_code >= 500:
        return "busy"
    return "parameter" if parameter else "request"


def fault_of_status(
    error: openai.APIStatusError, request: Mapping[str, Any], endpoint: Endpoint
) -> Fault:
    """What an HTTP status of 400 and up means."""
    details = _details(error)
    parameter = _parameter(details, request) if error.status_code in (400, 422) else ""
    message = details.get("message")
    said = shown(endpoint.redacted(message), _SHOWN_CHARACTERS) if isinstance(message, str) else ""
    reason = f"HTTP {error.status_code}" + (f": {said}" if said else "")
    return Fault(reason, _kind(error, parameter), parameter)


def fault_of(error: Exception, timeout_s: float) -> Fault:
    """What an error without an HTTP status means. The error's own text may hold an address: unused."""
    if isinstance(error, openai.APITimeoutError):
        return Fault(f"no reply within {timeout_s:g} s", "reach")
    if isinstance(error, TimeoutError):
        return Fault(f"no whole reply within {timeout_s:g} s, all tries together", "reach")
    return Fault("the connection failed or was cut", "reach")
