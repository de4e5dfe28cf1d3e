"""Texts that harm where they are obeyed, and how to see that they were not."""

from __future__ import annotations

from hypothesis import strategies as st

HOSTILE = (
    "<script>window.evil=1</script>", "<img src=x onerror=window.evil=1>", "'; DROP TABLE tokens; --",
    "\x1b[31mred\x1b]0;title\x07", "../../etc/passwd", "/etc/passwd", "..\\..\\x", "%00", "a\0b", "\0",
    "\u202eevil\u2066", "\ud800", "\udcff", "", " ", "\n", "a\r\nb", "-", "--", "--help", "-h", "@file",
    "x" * 5000, "9" * 400, "-1", "1e999", "nan", "inf", "NULL", "{}", "[]", "$(id)", "`id`", "~", "~nobody",
    "//host/x", "\\\\host\\x", "C:\\x", "file:///etc/passwd", "http://127.0.0.1:9/", "é", "日本", "🙂",
    "L0H0", "L5N7", "L999999999H1", "L-1H0", "l5n7", "L5N7,L5N7", ",", ",,", "L0H0,", "␣", "␣come",
    "\u2028", "\x85", "\ufeff", "\x7f", "1.5", "0", "007", "+1", "１", "true", "None",
)  # fmt: skip
hostile_text = st.one_of(st.sampled_from(HOSTILE), st.text(max_size=40))


def controls(text: str) -> set[str]:
    """Characters of a terminal's text that it would obey; line ends and tabs are its own."""
    return {
        c for c in text if not c.isprintable() and c not in "\n\t" and c not in "\u200d\ufe0f"
    }  # fmt: skip
