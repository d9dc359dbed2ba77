"""The pages in a real browser: headless Chromium, without any network, shows every figure and reports no error."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from command_line import trained_run, tsjepa, write_data

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
OFFLINE = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND",
    "--enable-logging=stderr",
)
# What the browser itself asks for, whatever the page
OWN = re.compile(r"https?://[a-z0-9.]*\.(google|googleapis|gstatic)\.com/")

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")


def opened(page: Path, profile: Path) -> str:
    """Return the document as the browser has it after loading: no script failed, nothing was asked of the network."""
    assert BROWSER is not None
    log = page.with_suffix(".json")
    own = (f"--user-data-dir={profile}", f"--log-net-log={log}", "--dump-dom", page.resolve().as_uri())
    result = subprocess.run([BROWSER, *OFFLINE, *own], capture_output=True, text=True, timeout=120, check=True)
    assert "CONSOLE" not in result.stderr
    asked = set(re.findall(r'"url":"(https?://[^"]*)', log.read_text()))
    assert not {url for url in asked if not OWN.match(url)}
    return result.stdout


def test_a_diagnosis_opens(alone: Path) -> None:
    trained_run(alone, epochs=2)
    assert tsjepa("diagnose", "run", "--device", "cpu", "--no-supervised").exit_code == 0
    text = opened(Path("run/diagnose.html"), alone / "profile")
    assert text.count("<svg") == 7
    assert "calm" in text


def test_a_study_opens(alone: Path) -> None:
    words = ("--data", write_data("pump"), "--out", "study", "--quick", "--steps", "12", "--device", "cpu")
    result = tsjepa("collapse-study", *words)
    assert result.exit_code == 0, result.output
    text = opened(Path("study/index.html"), alone / "profile")
    assert "<img" in text or "<svg" in text
    assert "undecided" in text


@pytest.mark.parametrize("body", ["<script>throw new Error('broken')</script>", "<img src='http://example.org/a.png'>"])
def test_a_page_that_is_at_fault_is_noticed(alone: Path, body: str) -> None:
    Path("page.html").write_text(f"<!doctype html><html><body>{body}</body></html>")
    with pytest.raises(AssertionError):
        opened(Path("page.html"), alone / "profile")
