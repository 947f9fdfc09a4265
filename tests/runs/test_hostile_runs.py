"""Tests that files of an untrusted run take bounded memory, and that their texts become neither paths nor markup."""

import contextlib
import json
import os
import resource
import shutil
import struct
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from helpers.html_page import HOSTILE, Page
from helpers.image_kinds import png
from helpers.tiny_runs import changed, said

import auxar
from auxar.cli import main
from auxar.evaluation.comparison import compare_runs
from auxar.files import CHECKSUM, read_bytes, read_json, read_tensors, write_json, write_tensors
from auxar.report import write_report
from auxar.runs.format import RunRecord
from auxar.runs.records import FACTS, read_record


@pytest.fixture(scope="module")
def finished(tiny_run, tmp_path_factory) -> Path:
    """A complete run, with samples of a second rule and the paper's figures."""
    folder = Path(shutil.copytree(tiny_run, tmp_path_factory.mktemp("finished") / "run"))
    auxar.sample(folder, settings=["sampling.images=1", "sampling.rule=map"])
    auxar.figures(folder, rows=1)
    return folder


@contextlib.contextmanager
def within(megabytes: int) -> Iterator[None]:
    """Asserts that the block stays within this memory."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # This resets the peak.
    before = peak()
    yield
    assert peak() - before < megabytes


def peak() -> float:
    """Returns the peak of resident memory in megabytes."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def recipe(folder: Path, **changes: Any) -> None:
    """Changes keys of a run's recipe."""
    path = folder / "recipe.toml"
    path.write_text(tomli_w.dumps(changed(tomllib.loads(path.read_text()), **changes)))


# Sizes


def crafted(header: Any, data: bytes = b"", length: int | None = None) -> bytes:
    """Returns a safetensors file with this header. `length` replaces the true length of the header.

    A table gets metadata without which files are refused before their tensors are looked at.
    """
    if isinstance(header, dict):
        header = {**header, "__metadata__": {CHECKSUM: "0" * 64, **header.get("__metadata__", {})}}
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def claimed(shape: list[Any], dtype: str = "F32", offsets: tuple[Any, Any] = (0, 4), data: bytes = b"\0" * 4) -> bytes:
    return crafted({"a": {"dtype": dtype, "shape": shape, "data_offsets": list(offsets)}}, data)


TENSORS = {
    "empty": b"",
    "length of 2^63": crafted({}, length=2**63),
    "nested": crafted(b"[" * 10**6),
    "a terabyte": claimed([2**38], offsets=(0, 2**40)),
    "nothing of absurd size": claimed([0, 2**62], offsets=(0, 0), data=b""),
    "pickled type": claimed([1], "O"),
    "another checksum": claimed([1]),
}
"""Files that are not what they claim."""


@pytest.mark.parametrize("kind", TENSORS)
def test_what_tensors_claim_is_checked_before_it_is_believed(tmp_path, kind):
    file = tmp_path / "file.safetensors"
    file.write_bytes(TENSORS[kind])
    with within(megabytes=300):
        assert said(read_tensors, file).startswith(f"{file} is damaged: ")


def test_gigabytes_that_a_header_claims_are_not_read(finished, copied):
    file = copied / "evaluation.safetensors"
    _, metadata = read_tensors(file)
    size = 2**30 + 8
    tensor = {"dtype": "F64", "shape": [1, size // 8], "data_offsets": [0, size]}
    content = crafted({"__metadata__": metadata, "heldout.prior.nats": tensor})
    file.write_bytes(content)
    os.truncate(file, len(content) + size)
    with within(megabytes=300):
        assert "is too large: expected at most 134,217,728 values" in said(compare_runs, [finished, copied])


def test_reading_is_bounded(tmp_path):
    (tmp_path / "file").write_bytes(b"x" * 100)
    assert read_bytes(tmp_path / "file", 100) == b"x" * 100
    assert "is too large: expected at most 99 bytes" in said(read_bytes, tmp_path / "file", 99)
    os.truncate(tmp_path / "file", 2**40)
    with within(megabytes=100):
        assert "is too large: expected at most 16,777,216 bytes" in said(read_record, tmp_path / "file", RunRecord)


def test_a_recipe_of_absurd_size_takes_no_memory(copied):
    """A recipe with absurd sizes is refused without using memory, because the stored weights have other sizes."""
    recipe(copied, stage__0__decoder__filters=16_384)
    with within(megabytes=300):
        for call in (auxar.load, auxar.evaluate, auxar.sample, auxar.figures):
            assert "does not belong to factor" in said(call, copied)


# Records


BOMBS = {
    "nested lists": "[" * 10**6,
    "digits": "9" * 10**6,
    "not UTF-8": "\udcff\udcfe",
    "many keys": json.dumps({f"k{k}": k for k in range(100_000)}),
    "large": " " * (2**24 + 1),
}


@pytest.mark.parametrize("kind", BOMBS)
def test_json_that_is_none_of_ours_is_one_error_or_leaves_a_report(copied, kind):
    for place in ("samples/samples.json", "figures/figures.json", "run.json", "factors/prior/metrics.jsonl"):
        kept = (copied / place).read_bytes()
        (copied / place).write_bytes(BOMBS[kind].encode("utf-8", "surrogateescape"))
        with within(megabytes=300):
            message = said(write_report, copied)
        assert message.startswith(f"{copied / place} is ") == (not place.startswith("factors"))
        assert len(message) < 3000
        (copied / place).write_bytes(kept)


@pytest.mark.parametrize("name", ["../../outside/x.png", "", "x" * 5000, "figures.json"])
def test_figures_are_files_of_their_folder(copied, name):
    write_json(copied / "figures" / "figures.json", [{"file": name, "title": "t", "caption": "c"}])
    assert "figures.json is damaged: [0]: expected the name of a picture" in said(write_report, copied)


def test_names_that_are_no_text_are_kept(tmp_path):
    """File names that are not valid Unicode, for example of given images, can be stored in JSON."""
    write_json(tmp_path / "file.json", {"given": ["\udcff.png"]})
    assert read_json(tmp_path / "file.json") == {"given": ["\udcff.png"]}


# Pictures


def test_pictures_of_absurd_size_are_left_out(copied):
    (copied / "samples" / "samples.png").write_bytes(png(20_000, 20_000, 8, 2, b""))
    os.truncate(copied / "figures" / "map.png", 200 * 10**6)
    with within(megabytes=100):
        page = Page(write_report(copied).read_text("utf-8"))
    assert "These pictures are too large for this page: samples/samples.png, figures/map.png." in page.text
    assert len(page.all("img")) == 1 + 5


# Markup and terminals


CHOICES = ("factor", "support", "kind", "kept", "file", "checksums")
"""Keys of records that accept only a few fixed texts."""
CONTROL = "\x1b[2J\x1b]0;title\x07\r\x9b1A\u202e\u2066\x7f\x08evil"


def elements(file: Path) -> set[tuple[str, tuple[str, ...]]]:
    """Returns every kind of element on a page as (name, names of its attributes)."""
    return {(name, tuple(attributes)) for name, attributes in Page(file.read_text("utf-8")).elements}


def strings(node: Any, text: str = HOSTILE) -> Any:
    """Returns the JSON data with every free text replaced by hostile markup."""
    if isinstance(node, dict):
        return {key: entry if key in CHOICES else strings(entry, text) for key, entry in node.items()}
    if isinstance(node, list):
        return [strings(entry, text) for entry in node]
    return text if isinstance(node, str) else node


def with_texts(folder: Path, change: Callable[[Any], Any]) -> None:
    """Changes the texts of a run's evaluation."""
    tensors, metadata = read_tensors(folder / "evaluation.safetensors")
    facts = json.dumps(change(json.loads(metadata[FACTS])))
    write_tensors(folder / "evaluation.safetensors", tensors, {FACTS: facts})


def test_no_text_of_a_run_becomes_markup(copied):
    clean = elements(write_report(copied))
    with_texts(copied, strings)
    for place in ("samples/samples.json", "figures/figures.json"):
        write_json(copied / place, strings(read_json(copied / place)))
    for file in copied.glob("factors/*/metrics.jsonl"):
        lines = [json.loads(line) | {"factor": HOSTILE} for line in file.read_text().splitlines()]
        file.write_text("\n".join(map(json.dumps, lines)))
    recipe(copied, data__path=HOSTILE, prior__name=HOSTILE, plugins=[HOSTILE])
    with (copied / "recipe.toml").open("a") as file:
        file.write(f"# {HOSTILE} </code></pre><script>alert(1)</script>")
    # A file name cannot contain a slash.
    named = copied.rename(copied.with_name(HOSTILE.replace("/", "")))
    page = Page(write_report(named).read_text("utf-8"))
    assert elements(named / "report.html") <= clean
    assert len(page.all("script")) == 1
    assert len(page.all("img")) == 2 + 6
    assert page.text.count("<script>") > 20
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]


def test_what_is_printed_does_not_control_the_terminal(finished, copied, capsys):
    with_texts(copied, lambda facts: strings(facts, CONTROL))
    assert main(["compare", str(finished), str(copied)]) == 0
    recipe(copied, data__path=CONTROL)
    assert main(["evaluate", str(copied)]) == 2
    output = capsys.readouterr()
    assert "evil" in output.out
    assert "evil" in output.err
    for line in (output.out + output.err).replace("\r", "\n").split("\n"):
        assert line.replace("\t", " ").isprintable(), ascii(line)
