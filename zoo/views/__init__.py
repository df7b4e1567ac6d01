"""Explanations as text, HTML pages and figures; the only package that uses HTML or matplotlib."""
