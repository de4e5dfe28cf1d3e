"""Between a store and what is drawn: tables and figures of a page, as pure functions of an open store;
and what is cached for the life of the server: open stores and, for Live, the model.

`notebook` gives the same figures to a notebook. Only `stores`, `models` and `findings_cache` know
Streamlit.
"""
