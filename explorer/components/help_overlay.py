"""The help behind `?`: the keys of every page, and where each number is defined. No tour."""

from __future__ import annotations

import html

_KEYS = (
    ("J K", "next and previous neuron"),
    ("N P", "next and previous prompt of the neuron"),
    ("H G", "next and previous head that reaches it"),
    ("↑ ↓ Enter", "rows of a table or list; Enter opens"),
    ("← → Esc", "on Live’s token strip: position; all heads on again"),
    ("/", "search a token"),
    ("?", "this help; Esc closes it"),
)
_DEFINED = (
    "Rest on a mark for its names, value and unit.",
    "The question mark beside a heading defines what the figure shows.",
    "About defines every number on screen, with the thresholds of this run.",
)


def _row(keys: str, text: str) -> str:
    marks = " ".join(f"<kbd>{html.escape(key)}</kbd>" for key in keys.split())
    return f"<tr><th scope='row'>{marks}</th><td>{html.escape(text)}</td></tr>"


def help_html() -> str:
    """The button, and the window that it and the key `?` open."""
    keys = "".join(_row(*entry) for entry in _KEYS)
    defined = "".join(f"<li>{html.escape(text)}</li>" for text in _DEFINED)
    return (
        '<button type="button" id="open" aria-haspopup="dialog" title="Keys and definitions (?)">'
        '?<span class="sr"> Help</span></button>'
        '<dialog id="help" tabindex="-1" autofocus aria-labelledby="title">'
        '<div class="head"><h2 id="title">Keys and definitions</h2>'
        '<button type="button" id="close" aria-label="Close">✕</button></div>'
        f"<table>{keys}</table>"
        f"<h3>What a number means</h3><ul>{defined}</ul>"
        '<div class="foot"><button type="button" id="about">Open About</button>'
        '<button type="button" id="guide"></button><button type="button" id="big"></button></div>'
        "</dialog>"
    )
