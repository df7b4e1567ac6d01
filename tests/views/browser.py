"""A real browser, without a window: what a page says after its scripts, and what goes wrong in it."""

import base64
import hashlib
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-dev-shm-usage")


def run_in_browser(page: str, script: str, folder: Path) -> str:
    """What `script` leaves in `window.found` when it runs at the end of a page; errors of the page are raised here."""
    browser = next((found for name in NAMES if (found := shutil.which(name))), None)
    if browser is None:
        pytest.skip("no browser at hand: install chromium")
    guard = (
        "window.wrong=[];window.addEventListener('error',function(e){window.wrong.push(e.message)});"
        "document.addEventListener('securitypolicyviolation',function(e){window.wrong.push('refused '+e.blockedURI)});"
        "console.error=function(m){window.wrong.push(String(m))};"
    )
    asked = (
        f"try{{{script}}}catch(e){{window.wrong.push(String(e))}}"
        "var pre=document.createElement('pre');pre.id='told';"
        "pre.textContent=JSON.stringify({found:window.found,wrong:window.wrong,"
        "asked:performance.getEntriesByType('resource').map(function(r){return r.name})});"
        "document.body.appendChild(pre);"
    )
    file = folder / "page.html"
    page = allowed(page, guard, asked).replace("<head>", f"<head><script>{guard}</script>", 1)
    page = page.replace("</body>", f"<script>{asked}</script></body>")
    file.write_text(page, encoding="utf-8")
    command = [browser, *FLAGS, f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=4000", "--dump-dom"]
    done = subprocess.run([*command, file.as_uri()], capture_output=True, text=True, timeout=180)
    found = re.search(r"<pre id=\"told\">(.*?)</pre>", done.stdout, re.DOTALL)
    assert found, f"the page did not run to its end: {done.stderr[-2000:]}"
    return unescape(found[1])


def allowed(page: str, *scripts: str) -> str:
    """The page with these scripts added to those that its content security policy allows."""
    hashes = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" for script in scripts
    )
    return page.replace("script-src 'none'", f"script-src {hashes}").replace(
        "script-src 'sha256", f"script-src {hashes} 'sha256", 1
    )
