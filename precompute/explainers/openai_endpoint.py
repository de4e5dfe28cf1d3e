"""Where a language model is asked, with which key, and how that key stays out of everything written."""

from __future__ import annotations

import base64
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit, urlunsplit

from explorer.core.errors import CallError

if TYPE_CHECKING:
    from openai import AsyncOpenAI

DEFAULT_BASE_URL = "https://api.openai.com/v1"
KEY_VARIABLE = "OPENAI_API_KEY"
URL_VARIABLE = "OPENAI_BASE_URL"
# Local servers want no key, and people give them words such as `ollama`: those hide nothing.
_SHORTEST_SECRET = 8
_QUOTA_CODES = {"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"}


def shown_url(url: str) -> str:
    """A base URL as it may be stored and said: no user, password, query or fragment."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def check_url(url: str) -> None:
    """Raise CallError for what is no http address; the address itself may hold a secret."""
    try:
        parts = urlsplit(url)
        is_good = parts.scheme in ("http", "https") and bool(parts.hostname)
        is_good = is_good and (parts.port is None or parts.port > 0) and url.isprintable()
    except ValueError:
        is_good = False
    if not is_good:
        raise CallError(
            f"--openai-base-url or {URL_VARIABLE} must be an address such as "
            "http://localhost:11434/v1"
        )


@dataclass(frozen=True)
class Endpoint:
    """An address and a key. Its repr holds neither key nor password."""

    base_url: str
    """As it may be shown."""
    _url: str = field(repr=False)
    """With user and password, without query."""
    _query: tuple[tuple[str, str], ...] = field(repr=False)
    _key: str = field(repr=False)

    @staticmethod
    def of(base_url: str | None, environment: Mapping[str, str]) -> Endpoint:
        """From the option and the environment. Raises CallError where a key is missing or no key."""
        given = base_url or environment.get(URL_VARIABLE, "").strip()
        key = environment.get(KEY_VARIABLE, "").strip()
        if not key and not given:
            raise CallError(
                f"--explainer openai needs a key in the environment variable {KEY_VARIABLE}; for a "
                f"local server that wants none give its address in {URL_VARIABLE} instead"
            )
        if not (key.isascii() and key.isprintable() and " " not in key):
            raise CallError(f"{KEY_VARIABLE} holds characters that no key has; set it anew")
        url = given or DEFAULT_BASE_URL
        check_url(url)
        parts = urlsplit(url)
        bare = urlunsplit((parts.scheme, parts.netloc, parts.path, "", ""))
        query = tuple(parse_qsl(parts.query, keep_blank_values=True))
        return Endpoint(shown_url(url), bare, query, key or "none")

    def redacted(self, text: str) -> str:
        """The text without any secret of this endpoint, in the spellings that servers send back."""
        for secret in self._secrets():
            text = text.replace(secret, "[key]")
        return text

    def _secrets(self) -> list[str]:
        parts = urlsplit(self._url)
        user, password = unquote(parts.username or ""), unquote(parts.password or "")
        both = base64.b64encode(f"{user}:{password}".encode()).decode() if password else ""
        plain = [self._key, password, both, *(value for _, value in self._query)]
        spelled = {form for secret in plain for form in (secret, quote(secret, safe=""))}
        if not password:
            spelled |= {user, quote(user, safe="")}
        # The longest first: a short one may be part of it.
        return sorted((s for s in spelled if len(s) >= _SHORTEST_SECRET), key=len, reverse=True)

    def client(self, timeout_s: float, max_retries: int) -> AsyncOpenAI:
        """The official client, for the event loop that runs now."""
        from openai import AsyncOpenAI, DefaultAsyncHttpxClient, Timeout

        # Its lines below a warning quote addresses, with all that is in them.
        logging.getLogger("httpx2").setLevel(logging.WARNING)
        timeout = Timeout(timeout_s, connect=min(10.0, timeout_s))
        return AsyncOpenAI(
            api_key=self._key, base_url=self._url, default_query=dict(self._query),
            timeout=timeout, max_retries=max_retries,
            http_client=DefaultAsyncHttpxClient(
                timeout=timeout, event_hooks={"response": [_stop_where_quota_is_out]}
            ),
        )  # fmt: skip


def is_quota(error: Any) -> bool:
    """Whether an error body says that the money is out, which no waiting mends."""
    if not isinstance(error, Mapping):
        return False
    return any(str(error.get(name)) in _QUOTA_CODES for name in ("code", "type"))


async def _stop_where_quota_is_out(response: Any) -> None:
    """Tell the client not to try again: to it, one 429 is like another."""
    if response.status_code != 429:
        return
    await response.aread()
    try:
        body = response.json()
    except (ValueError, RecursionError):
        return
    if is_quota(body.get("error", body) if isinstance(body, dict) else None):
        response.headers["x-should-retry"] = "false"
