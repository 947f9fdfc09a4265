"""Tests of the demo page in a process of its own: its address, its controls and uploads."""

import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from helpers.tiny_runs import command, process_environment
from PIL import Image

import auxar
from auxar.errors import UserError
from auxar.testing import check_command
from auxar_demo import demo

NEEDS_GRADIO = pytest.mark.skipif(find_spec("gradio") is None, reason="needs Gradio (pip install '.[demo]')")


def start(folder: Path) -> tuple[subprocess.Popen[str], str]:
    """Starts a process with the page of emoji32 and temporary files in `folder`. Returns it and the page's address."""
    environment = process_environment() | {"TMPDIR": str(folder), "http_proxy": "http://127.0.0.1:9"}
    words = command("demo", "emoji32")
    started = subprocess.Popen(words, env=environment, stderr=subprocess.PIPE, text=True, cwd=folder)
    assert started.stderr is not None
    for line in started.stderr:
        if found := re.search(r"page: (http://127\.0\.0\.1:\d+/) \(Ctrl-C ends it\)", line):
            return started, found[1]
    raise AssertionError("the page did not start")


@pytest.fixture(scope="module")
def process(tmp_path_factory) -> Iterator[tuple[subprocess.Popen[str], str, Path]]:
    """A process with the page, its address, and the folder of its temporary files."""
    folder = tmp_path_factory.mktemp("page")
    started, address = start(folder)
    yield started, address, folder
    started.terminate()
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
@pytest.mark.slow
def test_forged_requests_read_no_file_and_no_address(process, tmp_path):
    import httpx

    _, address, _ = process
    Image.new("RGB", (32, 32), "red").save(tmp_path / "private.png")
    found = httpx.get(f"{address}config").json()["dependencies"]
    (number,) = [each["id"] for each in found if "change" in str(each["targets"])]

    def answer(name: str, path: str, **more: Any) -> str:
        """The result of a request of the page's own kind about an uploaded picture, with another path."""
        body = {"data": [{"path": path, **more}, None], "fn_index": number, "session_hash": name}
        assert httpx.post(f"{address}gradio_api/run/prepared", json=body).status_code == 404
        assert httpx.post(f"{address}gradio_api/queue/join", json=body).status_code == 200
        with httpx.stream("GET", f"{address}gradio_api/queue/data?session_hash={name}", timeout=60) as lines:
            (done,) = [line for line in lines.iter_lines() if "process_completed" in line]
        return done

    for place, path in enumerate((str(tmp_path / "private.png"), str(tmp_path), "http://example.org/a.png", "")):
        for kind, more in enumerate(({}, {"meta": {"_type": "gradio.FileData"}})):
            assert "image.png" not in answer(f"{place}-{kind}", path, **more)
    files = {"files": ("mine.png", (tmp_path / "private.png").read_bytes())}
    (uploaded,) = httpx.post(f"{address}gradio_api/upload", files=files).json()
    assert "image.png" in answer("uploaded", uploaded)


NUMBERS = {"seed": ("seed", 0, 0, 2**53 - 1), "count": ("images", 16, 1, 64), "draws": ("draws", 4, 1, 8)}


@NEEDS_GRADIO
def test_the_page_has_a_tab_for_each_action_and_the_actions_wait_for_each_other(tmp_path):
    import gradio

    from auxar_demo.page import page

    blocks = page(auxar.load("emoji32"), tmp_path)
    tabs = [block.label for block in blocks.blocks.values() if isinstance(block, gradio.Tab)]
    assert tabs == ["Sample", "A picture of yours", "Enlarge", "Complete", "Likelihood"]
    of = {each.elem_id: each for each in blocks.blocks.values() if getattr(each, "label", None) and each.elem_id}
    facts = {name: (each.label, each.value, each.minimum, each.maximum) for name, each in of.items() if name in NUMBERS}
    assert facts == NUMBERS
    assert (of["rule"].value, of["rule"].allow_custom_value) == ("map", True)
    states = [each.value for each in blocks.blocks.values() if isinstance(each, gradio.State)]
    assert states == [None, None, None, (0, 16, 32, 32)], "the lower half is drawn anew"
    actions = {each.name: each for each in blocks.fns.values() if each.name != "<lambda>"}
    assert [*actions] == ["sample", "enlarge", "complete", "measure", "prepared", "clicked"]
    assert {each.concurrency_id for each in actions.values()} == {"model"}
    outputs = {each.name: [output.elem_id for output in each.outputs if output.elem_id] for each in actions.values()}
    results = {name: [f"{name}-result", f"about-{name}"] for name in ("sample", "enlarge", "complete")}
    results |= {"measure": ["likelihood-result", "about-likelihood"], "prepared": ["seen", "part"], "clicked": ["part"]}
    assert outputs == results
    inputs = {each.name: [control.elem_id or control.value for control in each.inputs] for each in actions.values()}
    given = ["draws", "rule", "seed", None]
    assert inputs["sample"] == ["count", "rule", "seed", None]
    assert (inputs["enlarge"], inputs["complete"]) == ([None, *given], [None, (0, 16, 32, 32), *given])
    [again] = {each.fn for each in blocks.fns.values() if each.name == "<lambda>"} & {blocks.fns[1].fn}
    assert (again(3), again(2**53 - 1)) == (4, 0), "another click draws other images"
    picture, text = actions["sample"].fn(2, "map", 3, None)
    assert re.fullmatch(r"2 images, rule map, seed 3\n\n\d+\.\d s", text)
    assert (np.asarray(picture.convert("RGB"))[:40] == 255).all(), "the buttons are above the sheet"
    with pytest.raises(gradio.Error, match="upload a picture first"):
        actions["enlarge"].fn(None, 4, "map", 0, None)
    image, part, zoom = torch.zeros(1, 3, 32, 32, dtype=torch.uint8), (0, 16, 32, 32), 12
    for place, corner, expected, box in (
        ((5, 20), None, ((5, 20), part), (5, 20, 6, 21)),
        ((2, 30), (5, 20), (None, (2, 20, 6, 31)), (2, 20, 6, 31)),
    ):
        clicked = SimpleNamespace(index=[zoom * side + zoom - 1 for side in place])
        *found, shown = actions["clicked"].fn(clicked, image, corner, part)
        assert tuple(found) == expected
        assert Image.fromarray(np.asarray(shown)[::zoom, ::zoom]).getbbox() == box


@NEEDS_GRADIO
@pytest.mark.slow
def test_a_port_in_use_and_an_unknown_host_are_named(process):
    port = process[1].rstrip("/").rpartition(":")[2]
    for options, place in ((["--port", port], f"127.0.0.1, port {port}"), (["--host", "no.invalid"], "no.invalid")):
        arguments = command("demo", "emoji32", *options)
        done = subprocess.run(arguments, env=process_environment(), capture_output=True, text=True, timeout=120)
        assert done.returncode == 2
        assert f"auxar: the page cannot be opened at {place}" in done.stderr


@NEEDS_GRADIO
@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_page_ends_by_a_signal_and_leaves_no_uploads(tmp_path, number, code):
    import httpx

    started, address = start(tmp_path)
    uploaded = httpx.post(f"{address}gradio_api/upload", files={"files": ("mine.png", b"no picture")})
    [path] = uploaded.json()
    assert Path(path).read_bytes() == b"no picture"
    assert Path(path).is_relative_to(tmp_path)
    started.send_signal(number)
    assert started.wait(60) == code
    assert not list(tmp_path.glob("auxar-demo-*"))
    assert started.stderr is not None
    assert "Traceback" not in started.stderr.read()


def test_a_missing_library_is_named(monkeypatch, refused):
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert "pip install 'auxar[demo]'" in refused("demo", "emoji32")


@pytest.mark.parametrize("port", [0, 65536])
def test_a_wrong_port_is_named(port):
    with pytest.raises(UserError, match="port: expected an integer from 1 to 65,535"):
        demo("emoji32", port=port)


def test_it_is_a_command(monkeypatch):
    served: list[tuple[Any, ...]] = []
    monkeypatch.setitem(sys.modules, "auxar_demo.serving", SimpleNamespace(serve=lambda *given: served.append(given)))
    assert check_command(demo, "emoji32", "--port", "8000") is None
    [(model, *place)] = served
    assert [model.run.name, *place] == ["emoji32", "127.0.0.1", 8000]
    assert auxar.demo is demo  # type: ignore[attr-defined]
