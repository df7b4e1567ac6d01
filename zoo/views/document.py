"""The frame of every page: one HTML file that loads nothing, and runs no script but its own."""

import base64
import hashlib
from collections.abc import Sequence

from zoo.views.markup import escape
from zoo.views.style import STYLE


def document(title: str, body: str, style: str = "", scripts: Sequence[str] = (), posts: bool = False) -> str:
    """A page of its own.

    Its content security policy forbids everything but images in data URIs, inline styles and the given scripts, each
    by its hash, so that a name that slipped through as markup could neither run nor load anything.

    Args:
        title: of the page.
        body: HTML of its content.
        style: rules beside those of all pages.
        scripts: JavaScript, run after the content is there.
        posts: whether its forms may send to the server that it comes from, and show the answers in a frame.
    """
    hashes = " ".join(f"'sha256-{_hash(script)}'" for script in scripts) or "'none'"
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src {hashes}; base-uri 'none'; " + (
        "form-action 'self'; frame-src 'self'" if posts else "form-action 'none'"
    )
    run = "".join(f"<script>{script}</script>" for script in scripts)
    return (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<title>{escape(title)}</title><style>{STYLE}{style}</style></head>"
        f"<body class='zoo'><main>{body}</main>{run}</body></html>"
    )


def _hash(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
