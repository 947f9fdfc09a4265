"""Tests of the demo page in a process of its own: its address, uploads and, in Chromium, what a user does on it."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import psutil
import pytest
from helpers.browser import Browser
from helpers.tiny_runs import command, process_environment
from PIL import Image

import auxar
from auxar.cli import main
from auxar.errors import UserError

NEEDS_GRADIO = pytest.mark.skipif(find_spec("gradio") is None, reason="needs Gradio (pip install '.[demo]')")
NEEDS_BROWSER = pytest.mark.skipif(
    find_spec("selenium") is None or not (shutil.which("chromium") and shutil.which("chromedriver")),
    reason="needs selenium, chromium and chromedriver",
)


@pytest.fixture(scope="module")
def process(tmp_path_factory) -> Iterator[tuple[subprocess.Popen[str], str, Path]]:
    """A process with the page of emoji32, its address, and the folder of temporary files."""
    folder = tmp_path_factory.mktemp("page")
    environment = process_environment() | {"TMPDIR": str(folder)}
    started = subprocess.Popen(
        command("demo", "emoji32"), env=environment, stderr=subprocess.PIPE, text=True, cwd=folder
    )
    assert started.stderr is not None
    found = None
    for line in started.stderr:
        found = re.search(r"page: (http://127\.0\.0\.1:\d+/) \(Ctrl-C ends it\)", line)
        if found:
            break
    assert found, "the page did not start"
    yield started, found[1], folder
    started.send_signal(signal.SIGTERM)
    started.wait(60)


@NEEDS_GRADIO
@pytest.mark.slow
def test_only_this_machine_reaches_the_page_and_no_file_of_it_is_given(process):
    started, address, _ = process
    listening = [each.laddr.ip for each in psutil.Process(started.pid).net_connections() if each.status == "LISTEN"]
    assert listening == ["127.0.0.1"]
    with urllib.request.urlopen(address, timeout=60) as answer:
        text = answer.read().decode()
    loaded = re.findall(r"""(?:src|href)=["'](https?://[^"']+)""", text)
    assert all(each.startswith(address) for each in loaded), loaded
    for name in ("/etc/passwd", str(Path(__file__).resolve()), "../../../../etc/passwd"):
        with pytest.raises(urllib.error.HTTPError) as error:
            urllib.request.urlopen(f"{address}gradio_api/file={name}", timeout=60)
        assert error.value.code in (403, 404)


@NEEDS_GRADIO
@NEEDS_BROWSER
@pytest.mark.slow
def test_a_user_draws_and_uploads(process, tmp_path):
    _, address, folder = process
    pixels = np.full((60, 90, 3), 255, dtype=np.uint8)
    pixels[10:50, 25:65] = (250, 200, 40)
    Image.fromarray(pixels).save(tmp_path / "mine.png")
    (tmp_path / "text.png").write_text("no picture")
    with Browser() as page:
        page.open(address)
        page.click("#draw")
        page.wait("#samples img")
        assert page.text("#about-samples").startswith("16 images, rule map, seed 0, ")
        page.tab("A picture of yours")
        page.click("#enlarge")
        assert "upload a picture first" in page.wait(".toast-body").text
        page.wait("#upload input[type=file]", visible=False).send_keys(str(tmp_path / "mine.png"))
        page.wait("#seen img")
        page.click("#enlarge")
        page.wait("#enlarge-result img")
        assert "4 draws; rule map, seed 1, " in page.text("#about-enlarge")
        page.tab("Complete")
        before = page.wait("#part img").get_attribute("src")
        page.click_at("#part img", -100, -100)
        page.until(lambda: page.wait("#part img").get_attribute("src") != before)
        page.click_at("#part img", 50, 60)
        page.click("#complete")
        page.wait("#complete-result img")
        page.tab("Likelihood")
        page.click("#likelihood")
        page.wait("#likelihood-result img")
        assert re.search(r"\d\.\d{3} bits/dim\. The map", page.text("#about-likelihood"))
        assert "WebP" in page.text("#about-likelihood")
        assert [url for url in page.requested() if not url.startswith((address, "data:", "blob:"))] == []
        assert list(folder.glob("auxar-demo-*/**/mine.png")), "uploads are in the temporary folder"


@NEEDS_GRADIO
@NEEDS_BROWSER
@pytest.mark.slow
def test_an_upload_that_is_no_picture_is_refused_by_name(process, tmp_path):
    _, address, _ = process
    (tmp_path / "text.png").write_text("no picture")
    with Browser() as page:
        page.open(address)
        page.tab("A picture of yours")
        page.wait("#upload input[type=file]", visible=False).send_keys(str(tmp_path / "text.png"))
        assert "text.png cannot be read" in page.wait(".toast-body").text


@NEEDS_GRADIO
@pytest.mark.slow
def test_a_port_in_use_is_named(process):
    port = process[1].rstrip("/").rpartition(":")[2]
    arguments = command("demo", "emoji32", "--port", port)
    done = subprocess.run(arguments, env=process_environment(), capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert "the page cannot be opened at 127.0.0.1" in done.stderr
    assert port in done.stderr


@NEEDS_GRADIO
@pytest.mark.slow
def test_the_page_ends_by_a_signal_and_leaves_no_uploads(process):
    started, _, folder = process
    assert list(folder.glob("auxar-demo-*"))
    started.send_signal(signal.SIGINT)
    assert started.wait(60) == 130
    assert not list(folder.glob("auxar-demo-*"))
    assert "Traceback" not in (started.stderr.read() if started.stderr else "")


def test_a_missing_library_is_named(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert main(["demo", "emoji32"]) == 2
    assert "pip install 'auxar[demo]'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"), [({"port": 0}, "port: expected an integer"), ({"host": ""}, "host: expected an address")]
)
def test_wrong_options_are_named(options, message):
    with pytest.raises(UserError, match=message):
        auxar.demo("emoji32", **options)
