"""A page in headless Chromium."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--enable-logging=stderr",
    "--dump-dom",
]


def visit(page: str, width: int, scheme: str, folder: Path) -> tuple[dict[str, object], str, str]:
    """What the page's probe saw, the document after the scripts ran, and what the browser logged."""
    (folder / "page.html").write_text(page, encoding="utf-8")
    # Chromium makes no window narrower than 500 pixels, so the page is shown in a frame of the wanted width.
    frame = f'<iframe id="frame" src="page.html" style="width:{width}px;height:900px;border:0"></iframe>'
    copy = "document.body.setAttribute('data-seen', frame.contentDocument.body.getAttribute('data-seen'));"
    copy += "document.body.append(frame.contentDocument.body)"
    (folder / "frame.html").write_text(
        f"<body>{frame}<script>onload = () => {{ {copy} }}</script></body>", encoding="utf-8"
    )
    assert CHROMIUM is not None
    result = subprocess.run(
        [
            CHROMIUM, *FLAGS, f"--user-data-dir={folder / 'profile'}", "--allow-file-access-from-files",
            f"--blink-settings=preferredColorScheme={0 if scheme == 'dark' else 1}", "--window-size=1400,1000",
            (folder / "frame.html").as_uri(),
        ],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    seen = re.search(r'<body data-seen="([^"]*)"', result.stdout)
    assert seen, result.stderr
    return json.loads(seen[1].replace("&quot;", '"')), result.stdout, result.stderr
