"""What a page can hand out: its link, and every table drawn on it, with the run's manifest.

Figures register their data as they are drawn (`collect`), so that the page's export is whole without
any page listing it. Files carry run, link and date.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import pandas as pd
import streamlit as st

from explorer import address

_KEY = "page_data"


def page_link_url() -> str:
    """The full link to the view that is on screen."""
    base = (st.context.url or "").split("?")[0]
    query = urlencode(address.query(), doseq=True)
    return f"{base}?{query}" if query else base


def today() -> str:
    """The date, ISO 8601 in UTC, as exports carry it."""
    return datetime.now(UTC).date().isoformat()


def begin_page() -> dict[str, pd.DataFrame]:
    """Forget the last page's data; the new page's tables, filled as figures are drawn."""
    tables: dict[str, pd.DataFrame] = {}
    st.session_state[_KEY] = tables
    return tables


def collect(title: str, data: pd.DataFrame) -> None:
    """Add (or renew) a figure's table in the page's export."""
    st.session_state.setdefault(_KEY, {})[title] = data


def file_stem(*parts: str) -> str:
    """A file name from texts that may hold anything."""
    words = "-".join(re.sub(r"[^A-Za-z0-9]+", "-", part).strip("-") for part in parts if part)
    return words.lower()[:80] or "export"


def to_csv(data: pd.DataFrame) -> bytes:
    """A table as CSV in UTF-8 with a byte order mark, so that spreadsheets read `␣` as it is."""
    return data.to_csv(index=False).encode("utf-8-sig")


def to_json(tables: Mapping[str, pd.DataFrame], manifest: Mapping[str, Any], link: str) -> bytes:
    """All tables of a page, the run's manifest, the link and the date."""
    content = {
        "link": link,
        "date": today(),
        "manifest": dict(manifest),
        "tables": {
            title: json.loads(str(data.to_json(orient="records"))) for title, data in tables.items()
        },
    }
    return json.dumps(content, ensure_ascii=False, indent=1).encode()


def to_zip(tables: Mapping[str, pd.DataFrame], manifest: Mapping[str, Any], link: str) -> bytes:
    """The same as one CSV file a table, beside `about.json`."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        about = {"link": link, "date": today(), "manifest": dict(manifest)}
        archive.writestr("about.json", json.dumps(about, ensure_ascii=False, indent=1))
        for number, (title, data) in enumerate(tables.items(), start=1):
            archive.writestr(f"{number}-{file_stem(title)}.csv", to_csv(data))
    return buffer.getvalue()
