"""The first page of a server: one drops a file, or types a text, and looks at the explanation."""

from collections.abc import Mapping
from typing import Any

from zoo.serving.limits import Limits, Refusal
from zoo.views.document import document
from zoo.views.markup import escape

STYLE = """
.zoo main{max-width:1180px}
.zoo form{display:flex;flex-wrap:wrap;gap:12px 20px;align-items:center;background:var(--paper);padding:16px 20px;
border:2px dashed var(--line);border-radius:14px;margin:0 0 16px}
.zoo form.over{border-color:var(--up)}
.zoo form label{flex:1 1 320px}
.zoo form textarea{display:block;width:100%;font:inherit;margin-top:4px;border:1px solid var(--line);border-radius:8px;
padding:6px 8px;background:none;color:inherit}
.zoo form input{display:block;font:inherit;margin-top:4px;max-width:100%}
.zoo form button{font:inherit;padding:8px 20px;border:0;border-radius:8px;background:var(--up);color:var(--paper)}
.zoo iframe{width:100%;height:78vh;border:1px solid var(--line);border-radius:14px;background:var(--ground)}
"""
SCRIPT = """
const form = document.querySelector('form'), file = form.elements.file;
file.addEventListener('change', () => file.files.length && form.requestSubmit());
for (const [name, over] of [['dragover', true], ['dragleave', false], ['drop', false]])
  document.addEventListener(name, event => { event.preventDefault(); form.classList.toggle('over', over); });
document.addEventListener('drop', event => {
  if (!event.dataTransfer.files.length) return;
  file.files = event.dataTransfer.files;
  form.requestSubmit();
});
"""


def home_page(about: Mapping[str, Any], limits: Limits) -> str:
    """The page as HTML; it loads nothing, and sends to its own server only.

    Args:
        about: the model, see `Service.about`.
        limits: of the server.
    """
    endings = ", ".join(about["endings"])
    size = f"{limits.body / 2**20:g} MB, {limits.page_rows} inputs"
    text = "<label>or a text<textarea name='text' rows='2'></textarea></label>" if about["texts"] else ""
    return document(
        f"{about['checkpoint']} explains itself",
        f"<h1>{escape(about['checkpoint'])}: {escape(about['model'])} reads {escape(about['reads'])}</h1>"
        "<form method='post' action='page' enctype='multipart/form-data' target='answer'>"
        f"<label>Drop a file here, or choose one<input type='file' name='file' accept='{escape(endings)}'></label>"
        f"{text}<button>Explain</button><p class='note'>{escape(endings)}; at most {size}. Files are not kept."
        " For programs: <a href='openapi.json'>openapi.json</a>.</p></form>"
        "<iframe name='answer' title='the explanation'></iframe>",
        STYLE,
        [SCRIPT],
        posts=True,
    )


def refusal_page(refusal: Refusal) -> str:
    """Why there is no page, for a browser."""
    return document(
        "No explanation",
        f"<h1>No explanation</h1><p>Got: <bdi>{escape(refusal.got)}</bdi></p>"
        f"<p>Expected: <bdi>{escape(refusal.expected)}</bdi></p><p>{escape(refusal.remedy)}</p>",
    )
