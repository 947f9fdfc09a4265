"""Tests that opening an untrusted run folder never runs its code, leaves the folder, hangs or exhausts memory."""

from __future__ import annotations

import ast
import contextlib
import importlib.util
import io
import json
import logging
import marshal
import math
import os
import pickle
import resource
import shutil
import signal
import struct
import time
import tomllib
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomli_w
import torch
from helpers.evaluations import figures_of, with_facts
from helpers.html_page import HOSTILE, Page
from helpers.tiny_runs import PROJECT, VIEW, changed, run, tiny

import auxar
from auxar.cli import main
from auxar.commands.evaluate import evaluate
from auxar.commands.figures import figures
from auxar.commands.run import run as run_recipe
from auxar.commands.sample import sample
from auxar.errors import UserError
from auxar.evaluation.comparison import compare_runs
from auxar.files import CHECKSUM, read_bytes, read_json, read_tensors, write_json, write_tensors
from auxar.recipe import load_recipe
from auxar.recipe.cost import factor_costs
from auxar.report import write_report
from auxar.runs.records import FACTS

FACTORS = ("prior", "stage0")
SECONDS = 60
"""Time limit of a test in seconds, long enough for a busy machine."""


class HangError(BaseException):
    """An error for tests that take too long. As a `BaseException` it is not caught by `except Exception`."""


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Uses one thread. Synchronizing threads takes much longer than running networks this small."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def finished(one_thread, tiny_run, tmp_path_factory) -> Path:
    """A complete run, with samples of a second rule and the paper's figures."""
    folder = Path(shutil.copytree(tiny_run, tmp_path_factory.mktemp("finished") / "run"))
    sample(folder, settings=["sampling.images=1", "sampling.rule=map"])
    figures(folder, rows=1)
    return folder


@pytest.fixture
def own(finished, tmp_path) -> Path:
    """A copy of the finished run for a test to damage."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


@pytest.fixture
def outside(tmp_path) -> Iterator[Path]:
    """A folder outside the run with files like those of a run. The fixture checks that the test did not change it."""
    folder = tmp_path / "outside"
    (folder / "images").mkdir(parents=True)
    for name in ("metrics.jsonl", "weights.safetensors", "000000.png", "images/000000.png", "samples.json", "x.png"):
        (folder / name).write_bytes(b"precious")
    before = contents(folder)
    yield folder
    assert contents(folder) == before


@pytest.fixture(autouse=True)
def in_time() -> Iterator[None]:
    """Fails tests that take longer than `SECONDS`."""

    def hang(*arguments: Any) -> None:
        raise HangError

    before = signal.signal(signal.SIGALRM, hang)
    signal.alarm(SECONDS)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def contents(folder: Path) -> dict[str, bytes | None]:
    return {str(path): path.read_bytes() if path.is_file() else None for path in sorted(folder.rglob("*"))}


def verbs(clean: Path) -> dict[str, Callable[[Path], Any]]:
    """Returns all operations that open a run's folder, by name. `run` continues it with the recipe of the clean run."""
    return {
        "load": lambda folder: auxar.load(folder).sample(1),
        "check": lambda folder: factor_costs(*load_recipe(folder / "recipe.toml")),
        "report": write_report,
        "compare": lambda folder: compare_runs([clean, folder]),
        "run": lambda folder: run_recipe(clean / "recipe.toml", out=folder),
        "evaluate": evaluate,
        "sample": lambda folder: sample(folder, settings=["sampling.images=1"]),
        "figures": lambda folder: figures(folder, rows=1),
    }


def said(action: Callable[..., Any], *arguments: Any) -> str:
    """Returns the message of the `UserError` that an action raises, or "" if it works. Other errors are not caught."""
    try:
        action(*arguments)
    except UserError as error:
        return str(error).strip() or "an error without words"
    return ""


@contextlib.contextmanager
def within(megabytes: int, seconds: float = 10) -> Iterator[None]:
    """Asserts that the block stays within this memory and CPU time."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # This resets the peak.
    before, start = peak(), time.process_time()
    yield
    assert peak() - before < megabytes
    assert time.process_time() - start < seconds


def peak() -> float:
    """Returns the peak of resident memory in megabytes."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def sparse(path: Path, size: int = 2**40) -> None:
    """Extends a file to a size without using space on the disk."""
    try:
        os.truncate(path, size)
    except OSError:
        pytest.skip("this file system does not support sparse files")


# Pickles


class Planted:
    """An object that creates a folder when its pickle is loaded."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.marker),)


def pickles(marker: Path) -> dict[str, bytes]:
    """Returns a malicious pickle in the file formats of several libraries."""
    planted = Planted(marker)
    buffers = {name: io.BytesIO() for name in ("torch", "old torch", "numpy", "npz")}
    torch.save({"state": planted}, buffers["torch"])
    torch.save({"state": planted}, buffers["old torch"], _use_new_zipfile_serialization=False)
    array = np.array([planted], dtype=object)
    np.save(buffers["numpy"], array, allow_pickle=True)
    np.savez(buffers["npz"], images=array)
    return {"pickle": pickle.dumps(planted), **{name: buffer.getvalue() for name, buffer in buffers.items()}}


VITAL = {"run.json", "recipe.toml", *(f"factors/{name}/weights.safetensors" for name in FACTORS)}
EXTRA = [
    *("optimizer.pt", "random.pkl", "random_states_0.pkl", "optimizer.bin", "scheduler.bin", "model.pt"),
    *("training.safetensors", "training-000000009.safetensors", "training.pt", "weights.pt", "weights.npz", "x.npy"),
    *("draws.npz", "conftest.py", "sitecustomize.py", "auxar.py", "__init__.py", "dataset_infos.json", "state.json"),
]


def test_a_pickle_is_a_pickle(tmp_path):
    for name, content in pickles(tmp_path / "marker").items():
        file = io.BytesIO(content)
        with contextlib.suppress(Exception):
            if "torch" in name:
                torch.load(file, weights_only=False)
            elif name == "pickle":
                pickle.loads(content)
            else:
                np.load(file, allow_pickle=True)["images" if name == "npz" else 0]
        (tmp_path / "marker").rmdir()


def test_planted_pickles_are_not_loaded(finished, own, tmp_path):
    """Pickles are not loaded from any optional file of a run, and not from files with names that other tools use."""
    marker = tmp_path / "marker"
    (content, *others) = pickles(marker).values()
    for file in [path for path in own.rglob("*") if path.is_file()]:
        if str(file.relative_to(own)) not in VITAL:
            file.write_bytes(content)
    for folder in (own, own / "figures", *(own / "factors").iterdir()):
        for number, name in enumerate(EXTRA):
            (folder / name).write_bytes(others[number % len(others)])
    messages = {}
    for verb, call in verbs(finished).items():
        messages[verb] = said(call, own)
        assert not marker.exists()
    assert not any(messages.pop(verb) for verb in ("load", "check", "sample"))
    damaged = f"{own}/evaluation.safetensors is damaged: "
    for verb, start in (
        ("report", damaged),
        ("compare", damaged),
        ("run", f"{own}/samples/growth.png is not a sample of an earlier call; "),
        ("evaluate", f"{own}/samples/samples.json is damaged: "),
        ("figures", f"{own}/figures/.lock cannot be locked: expected an empty file"),
    ):
        assert messages.pop(verb).startswith(start)
    assert not messages


@pytest.mark.parametrize("kind", ["pickle", "torch", "old torch", "numpy", "npz"])
def test_a_pickle_is_no_weights_no_state_and_no_recipe(finished, own, tmp_path, kind):
    marker = tmp_path / "marker"
    content = pickles(marker)[kind]
    weights = own / "factors" / "prior" / "weights.safetensors"
    weights.write_bytes(content)
    every = verbs(finished)
    for verb in ("load", "evaluate", "sample", "figures"):
        message = said(every[verb], own)
        assert message.startswith(f"{weights} is damaged: ")
        assert message.endswith("; delete this file, and `auxar run` writes it again from the last checkpoint")
    weights.unlink()
    for state in weights.parent.glob("training*"):
        state.write_bytes(content)
    assert "is damaged" in said(every["run"], own)
    (own / "recipe.toml").write_bytes(content)
    for verb, call in every.items():
        assert (str(own / "recipe.toml") in said(call, own)) == (verb != "report")
    assert not marker.exists()


FORBIDDEN_MODULES = {"pickle", "_pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "yaml", "code", "runpy"}
# Names that are forbidden as functions, and names that are forbidden as attributes. The attributes `eval` of a network
# and `re.compile` are harmless.
FORBIDDEN_CALLS = (
    {"eval", "exec", "compile", "__import__"},
    {"system", "popen", "load_module", "exec_module", "run_module", "run_path"},
)
KNOWN = {
    ("auxar/plugin_files.py", "exec"),  # This runs plugin files, which are code that the user trusts.
    ("auxar/plugin_files.py", "compile"),
    # With weights_only=True, which tests/plugins/auxar_metrics/test_fid.py checks.
    ("plugins/auxar_metrics/inception.py", "torch.load"),
}


def calls(node: ast.AST) -> Iterator[tuple[str, str, ast.Call]]:
    """Yields every call below a node as (object that has the function as an attribute, name of the function, call)."""
    for call in ast.walk(node):
        if isinstance(call, ast.Call):
            function = call.func
            if isinstance(function, ast.Attribute):
                yield ast.unparse(function.value), function.attr, call
            elif isinstance(function, ast.Name):
                yield "", function.id, call


def loads_code(path: Path) -> Iterator[str]:
    """Yields the imports and calls of a module that could run the content of a file as code."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        yield from (name for name in names if name.split(".")[0] in FORBIDDEN_MODULES)
    for owner, name, call in calls(tree):
        options = {option.arg: ast.unparse(option.value) for option in call.keywords}
        if name in FORBIDDEN_CALLS[bool(owner)]:
            yield name
        if name == "load" and owner in ("torch", "torch.hub", "torch.jit"):
            yield f"{owner}.load"
        if name == "load" and owner in ("np", "numpy") and options.get("allow_pickle") != "False":
            yield "np.load"
        if options.get("trust_remote_code", "False") != "False" or options.get("shell", "False") != "False":
            yield ast.unparse(call)


def test_no_module_loads_what_could_run_code():
    found = set()
    files = [file for folder in ("auxar", "plugins") for file in sorted((PROJECT / folder).rglob("*.py"))]
    assert len(files) > 100
    for file in files:
        name = file.relative_to(PROJECT).as_posix()
        found |= {(name, what) for what in loads_code(file)}
    assert found == KNOWN


@pytest.mark.parametrize(
    "line",
    [
        *(
            "import pickle",
            "from yaml import load",
            "eval(text)",
            "torch.load(path)",
            "np.load(path)",
            "os.system(text)",
        ),
        *("np.load(path, allow_pickle=True)", "load_dataset(name, trust_remote_code=True)", "run(text, shell=True)"),
    ],
)
def test_what_could_run_code_is_found(tmp_path, line):
    (tmp_path / "module.py").write_text(line)
    assert list(loads_code(tmp_path / "module.py"))


# Plugins that come with a run


MARKING = 'from pathlib import Path\n(Path(__file__).parents[1] / "marker").touch()\n'


@pytest.fixture(scope="module")
def extended(one_thread, pictures, tmp_path_factory) -> Path:
    """A run with a view from a plugin file."""
    folder = tmp_path_factory.mktemp("extended")
    (folder / "thin.py").write_text(VIEW)
    return run(folder / "run", with_view(pictures))


def with_view(pictures: Path) -> dict[str, Any]:
    changes = {"training__steps": 1, "sampling__images": 0, "evaluation": {"train_images": 0}}
    return tiny(pictures, plugins=["thin.py"], stage__0__view={"name": "thin", "every": 2}, **changes)


@pytest.fixture
def plugged(extended, tmp_path) -> Path:
    """A copy of `extended` with a plugin file that creates a marker in the run's folder when it is loaded."""
    folder = Path(shutil.copytree(extended, tmp_path / "run"))
    (folder / "plugins" / "thin.py").write_text(VIEW + MARKING)
    return folder


def opening(folder: Path, *, trust_plugins: bool = False) -> list[Callable[[], Any]]:
    """Returns all operations that load the plugins of a run."""
    recipe = folder / "recipe.toml"
    return [
        lambda: auxar.load(folder, trust_plugins=trust_plugins).chain,
        lambda: evaluate(folder, trust_plugins=trust_plugins),
        lambda: sample(folder, settings=["sampling.images=1"], trust_plugins=trust_plugins),
        lambda: run_recipe(recipe, out=folder.parent / "again", trust_plugins=trust_plugins),
        lambda: factor_costs(*load_recipe(recipe, trust_plugins=trust_plugins)),
    ]


def test_code_that_comes_with_a_run_is_not_loaded_unasked(plugged):
    file = plugged / "plugins" / "thin.py"
    for call in opening(plugged):
        message = said(call)
        assert f"this recipe names plugin files, which are code: {file}; read them, and if you trust them, " in message
    assert not (plugged / "marker").exists()


def test_the_commands_say_so_too(plugged, capsys):
    recipe = str(plugged / "recipe.toml")
    for words in (["run", recipe], ["check", recipe], ["evaluate", str(plugged)], ["sample", str(plugged)]):
        assert main(words) == 2
        assert "add --trust-plugins" in capsys.readouterr().err
    assert not (plugged / "marker").exists()
    assert main(["check", recipe, "--trust-plugins"]) == 0
    assert (plugged / "marker").exists()


def test_trusted_code_is_named_before_it_is_loaded(plugged, caplog):
    (plugged / "plugins" / "thin.py").write_text(VIEW + MARKING + "1 / 0")
    with caplog.at_level(logging.INFO, "auxar"):
        assert "ZeroDivisionError" in said(lambda: auxar.load(plugged, trust_plugins=True).chain)
    assert f"loading the plugin files {plugged / 'plugins' / 'thin.py'}" in caplog.text
    (plugged / "plugins" / "thin.py").write_text(VIEW + MARKING)
    for call in opening(plugged, trust_plugins=True):
        (plugged / "marker").unlink(missing_ok=True)
        assert said(call) == ""
        assert (plugged / "marker").exists()


@pytest.mark.parametrize("trust", [False, True])
@pytest.mark.parametrize(
    "name",
    [
        *("evil.py", "../evil.py", "../../evil.py", "plugins/../../evil.py", "plugins/../evil.py", "samples/evil.py"),
        *(
            "ABSOLUTE",
            "plugins/deep/evil.py",
            "x/../plugins/evil.py",
            "plugins/link.py",
            "plugins/loop.py",
            "./evil.py",
        ),
    ],
)
def test_code_elsewhere_is_not_loaded_even_if_trusted(own, tmp_path, name, trust):
    marker = tmp_path / "marker"
    for place in (own, own.parent, own.parent.parent, own / "plugins", own / "samples", own / "plugins" / "deep"):
        place.mkdir(exist_ok=True)
        (place / "evil.py").write_text(f"open({str(marker)!r}, 'w')")
    (own / "plugins" / "link.py").symlink_to("../evil.py")
    (own / "plugins" / "loop.py").symlink_to("loop.py")
    try:
        name = str(own.parent / "evil.py") if name == "ABSOLUTE" else name
        recipe(own, plugins=[name])
        calls = [lambda: auxar.load(own, trust_plugins=trust).chain, lambda: evaluate(own, trust_plugins=trust)]
        for call in calls:
            message = said(call)
            assert "is not in this run's folder plugins/" in message or name == "plugins/loop.py"
            assert "plugins" in message
        assert not marker.exists()
    finally:
        (own.parent.parent / "evil.py").unlink()


def recipe(folder: Path, **changes: Any) -> None:
    """Changes keys of a run's recipe."""
    path = folder / "recipe.toml"
    path.write_text(tomli_w.dumps(changed(tomllib.loads(path.read_text()), **changes)))


def test_compiled_files_are_not_used(plugged, tmp_path):
    """Python itself would use these `.pyc` files, which claim to be compiled from the plugin file. They are ignored."""
    file = plugged / "plugins" / "thin.py"
    evil = tmp_path / "evil.py"
    evil.write_text(f"open({str(tmp_path / 'compiled')!r}, 'w')")
    cache = file.parent / "__pycache__"
    cache.mkdir()
    code = compile(evil.read_text(), str(file), "exec")
    found = file.stat()
    header = b"".join(struct.pack("<I", part) for part in (0, int(found.st_mtime), found.st_size))
    content = importlib.util.MAGIC_NUMBER + header + marshal.dumps(code)
    names = {"thin.cpython-311.pyc", "thin.pyc", Path(importlib.util.cache_from_source(file)).name}
    for name in names:
        (cache / name).write_bytes(content)
    (file.parent / "thin.pyc").write_bytes(content)
    auxar.load(plugged, trust_plugins=True)
    assert (plugged / "marker").exists()
    assert not (tmp_path / "compiled").exists()
    assert {path.name for path in cache.iterdir()} == names


def test_continuing_a_run_does_not_execute_its_copies(pictures, plugged, tmp_path):
    (tmp_path / "thin.py").write_text(VIEW)
    table = with_view(pictures)
    assert "was made with another version of" in said(run, plugged, table)
    assert not (plugged / "marker").exists()


# Paths


@pytest.mark.parametrize(
    "name",
    [
        *("../../outside/x.png", "/etc/passwd", "", "..", "a/b.png", "x" * 5000, "figures.json"),
    ],
)
def test_figures_are_files_of_their_folder(own, outside, name):
    entries = [{"file": name, "title": "t", "caption": "c"}]
    (own / "figures" / "figures.json").write_text(json.dumps(entries))
    assert "figures.json is damaged: [0]: expected the name of a picture" in said(write_report, own)


@pytest.mark.parametrize(
    "name", ["../../outside", "../../../outside/metrics.jsonl", "/etc/passwd", "a\0b", "x" * 5000, ""]
)
def test_names_of_factors_lead_nowhere(finished, own, outside, name):
    with_facts(own, factors__0__factor=name)
    for call in (lambda: compare_runs([finished, own]), lambda: write_report(own)):
        assert said(call).startswith(f"{own / 'evaluation.safetensors'} is damaged: ")


# Tensors


def crafted(header: Any, data: bytes = b"", length: int | None = None) -> bytes:
    """Returns a safetensors file with this header. `length` replaces the true length of the header.

    A table gets metadata without which files are refused before their tensors are looked at.
    """
    if isinstance(header, dict):
        metadata = {CHECKSUM: "0" * 64, "versions": "{}", **header.get("__metadata__", {})}
        header = {**header, "__metadata__": metadata}
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def claimed(shape: list[Any], dtype: str = "F32", offsets: tuple[Any, Any] = (0, 4), data: bytes = b"\0" * 4) -> bytes:
    return crafted({"a": {"dtype": dtype, "shape": shape, "data_offsets": list(offsets)}}, data)


TENSORS = {
    "empty": b"",
    "length of 2^63": crafted({}, length=2**63),
    "length of 50 MB": crafted({}, length=50 * 10**6),
    "nested": crafted(b"[" * 10**6),
    "not UTF-8": crafted(b"\xff\xfe{}"),
    "2^40 × 2^40": claimed([2**40, 2**40]),
    "2^70 of them": claimed([2**70]),
    "a terabyte": claimed([2**38], offsets=(0, 2**40)),
    "negative": claimed([-1]),
    "nothing of absurd size": claimed([0, 2**62], offsets=(0, 0), data=b""),
    "beyond the end": claimed([1], offsets=(0, 2**20)),
    "left over": claimed([1], data=b"\0" * 100),
    "pickled type": claimed([1], "O"),
    "overlapping": crafted({name: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]} for name in "ab"}, b"\0" * 4),
    "missing keys": crafted({"a": {"dtype": "F32"}}),
}
"""Files that are not what they claim."""


@pytest.mark.parametrize("kind", TENSORS)
def test_what_tensors_claim_is_checked_before_it_is_believed(finished, own, kind):
    """Malformed or unexpected tensors are refused as nats, as weights and as a checkpoint."""
    prior = own / "factors" / "prior"
    with within(megabytes=300):
        (own / "evaluation.safetensors").write_bytes(TENSORS[kind])
        assert str(own / "evaluation.safetensors") in said(compare_runs, [finished, own])
        (prior / "weights.safetensors").write_bytes(TENSORS[kind])
        assert said(auxar.load, own).startswith(f"{prior / 'weights.safetensors'} ")
        (prior / "weights.safetensors").unlink()
        (prior / "training-000000004.safetensors").write_bytes(TENSORS[kind])
        (prior / "training-000000003.safetensors").unlink(missing_ok=True)
        assert said(verbs(finished)["run"], own).startswith(f"{prior / 'training-000000004.safetensors'} ")


def test_a_header_has_an_end(own):
    """A valid header above the size limit is refused. The limit leaves room for 100,000 tensors."""
    file = own / "factors" / "prior" / "weights.safetensors"
    tensors, _ = read_tensors(file)
    write_tensors(file, tensors, {"padding": " " * 2**24})
    assert f"{file} is damaged: its header has 16," in said(auxar.load, own)


def test_files_of_a_terabyte_are_not_read(finished, own):
    places = ["evaluation.safetensors", "samples/samples.json", "figures/figures.json"]
    places += [
        "factors/stage0/metrics.jsonl",
        "factors/prior/weights.safetensors",
        "samples/samples.png",
        "recipe.toml",
    ]
    with within(megabytes=300):
        for place in places:
            kept = (own / place).read_bytes()
            sparse(own / place)
            for verb in ("load", "report", "compare", "run"):
                said(verbs(finished)[verb], own)
            (own / place).write_bytes(kept)


def test_gigabytes_that_a_header_claims_are_not_read(finished, own):
    _, metadata = read_tensors(own / "evaluation.safetensors")
    size = 2**30 + 8
    tensor = {"dtype": "F64", "shape": [1, size // 8], "data_offsets": [0, size]}
    content = crafted({"__metadata__": metadata | {"sha256": ""}, "heldout.prior.nats": tensor})
    (own / "evaluation.safetensors").write_bytes(content)
    sparse(own / "evaluation.safetensors", len(content) + size)
    with within(megabytes=300):
        assert "is too large: expected at most 134,217,728 values" in said(compare_runs, [finished, own])


@pytest.mark.parametrize("changes", [{"prior__filters": 4096}, {"stage__0__decoder__filters": 16_384}])
def test_a_recipe_of_absurd_size_takes_no_memory(own, changes):
    """A recipe with absurd sizes is refused without using memory, because the stored weights have other sizes."""
    recipe(own, **changes)
    with within(megabytes=300):
        for call in (auxar.load, evaluate, sample, lambda folder: figures(folder, rows=1)):
            assert "does not belong to factor" in said(call, own)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bool, torch.complex64])
@pytest.mark.filterwarnings("ignore:Casting complex")
def test_weights_and_states_of_another_type_do_no_harm(finished, own, dtype):
    prior = own / "factors" / "prior"
    for file in (prior / "weights.safetensors", prior / "training-000000004.safetensors"):
        tensors, metadata = read_tensors(file)
        write_tensors(file, {name: tensor.to(dtype) for name, tensor in tensors.items()}, metadata)
    assert f"has the type {dtype}; expected torch.float32; delete this file" in said(auxar.load, own)
    (prior / "weights.safetensors").unlink()
    assert said(verbs(finished)["run"], own) == ""
    tensors, _ = read_tensors(prior / "weights.safetensors")
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float32}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1e38])
def test_weights_of_any_value_end_in_a_result_or_an_error(finished, own, value):
    for name in FACTORS:
        file = own / "factors" / name / "weights.safetensors"
        tensors, metadata = read_tensors(file)
        write_tensors(file, {key: torch.full_like(tensor, value) for key, tensor in tensors.items()}, metadata)
    for verb in ("load", "evaluate", "sample"):
        message = said(verbs(finished)[verb], own)
        assert ("are not finite" in message) == (not math.isfinite(value))


@pytest.mark.parametrize("key", ["step", "trained_steps", "complete_at"])
@pytest.mark.parametrize("text", ["nan", ""])
def test_numbers_of_steps_of_weights_are_checked(own, key, text):
    file = own / "factors" / "prior" / "weights.safetensors"
    tensors, metadata = read_tensors(file)
    write_tensors(file, tensors, {**metadata, key: text})
    message = said(evaluate, own)
    assert message.startswith(f"{file} is damaged: its metadata has a wrong number of steps (")
    assert message.isprintable()


# Records


VALUES = ["1e999", "NaN", "9" * 5000, str(2**63), "-1", "null", "true", '"1"', "[]", "{}", json.dumps(HOSTILE)]
BOMBS = {
    "nested lists": "[" * 10**6,
    "digits": "9" * 10**6,
    "nothing": "",
    "not UTF-8": "\udcff\udcfe",
    "many keys": json.dumps({f"k{k}": k for k in range(100_000)}),
    "null": "null",
    "large": " " * (2**24 + 1),
}
RECORDS = ["samples/samples.json", "figures/figures.json", "run.json"]
METRICS = "factors/prior/metrics.jsonl"


@pytest.mark.parametrize("place", [*RECORDS, METRICS])
@pytest.mark.parametrize("kind", BOMBS)
def test_json_that_is_none_of_ours(finished, own, place, kind):
    (own / place).write_bytes(BOMBS[kind].encode("utf-8", "surrogateescape"))
    with within(megabytes=300):
        assert len(said(verbs(finished)["report"], own)) < 3000


def values(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yields the paths of all values in JSON. Only the first entry of a list is visited."""
    if path:
        yield path
    entries = node.items() if isinstance(node, dict) else enumerate(node[:1]) if isinstance(node, list) else ()
    for key, entry in entries:
        yield from values(entry, (*path, key))


def with_value(table: Any, path: tuple[Any, ...], text: str) -> str:
    """Returns the JSON text with the value at `path` replaced by `text`."""
    marker = "the value in question"
    node = table = json.loads(json.dumps(table))
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = marker
    return json.dumps(table).replace(json.dumps(marker), text)


@pytest.mark.parametrize("place", RECORDS)
def test_any_value_in_a_record_gives_a_result_or_an_error(finished, own, place):
    table = read_json(own / place)
    messages = set()
    stride = 1 if place == "run.json" else 11  # `run.json` has only two values.
    for number, path in enumerate(values(table)):
        for text in VALUES[number % stride :: stride]:
            (own / place).write_text(with_value(table, path, text))
            messages.add(bool(message := said(write_report, own)))
            assert not message or message.startswith(str(own / place))
    assert messages == {True, False}


@pytest.mark.parametrize(
    ("key", "text", "message"),
    [
        ("seed", "1e0", "seed: expected int, got 1.0"),
        ("seed", "true", "seed: expected int, got True"),
        ("seed", '"1"', "seed: expected int, got '1'"),
        ("seed", str(2**63), f"seed: expected an integer of at most 64 bits, got {2**63}"),
        ("seconds", '"1"', "seconds: expected float, got '1'"),
        ("rule", "1", "rule: expected a table, got 1"),
        ("bits_per_dim", "{}", "bits_per_dim: expected a list, got {}"),
        ("bits_per_dim", '"12"', "bits_per_dim: expected a list, got '12'"),
        ("bits_per_dim", "[1, 2, null]", "bits_per_dim[2]: expected float, got None"),
    ],
)
def test_what_is_wrong_with_a_record_is_told(own, key, text, message):
    file = own / "samples" / "samples.json"
    file.write_text(with_value(read_json(file), (key,), text))
    assert said(write_report, own) == f"{file} is damaged: {message}"


def test_a_record_is_a_table_and_has_an_end(own):
    file = own / "samples" / "samples.json"
    for text in ("[]", "null", '"x"', "3"):
        file.write_text(text)
        assert said(write_report, own) == f"{file} is damaged: expected a table, got {json.loads(text)!r}"
    file.write_text(" " * (2**24 + 1))
    assert "is too large: expected at most 16,777,216 bytes" in said(write_report, own)


REQUIRED = {
    "samples/samples.json": {
        *("arithmetic", "count", "meaning", "rule", "sampler", "seconds", "seed"),
    },
    "figures/figures.json": {"caption", "file", "title"},
    "run.json": {"auxar", "format"},
}
"""The keys of each record that have no default."""


@pytest.mark.parametrize("place", RECORDS)
def test_a_key_that_is_missing_or_new(finished, own, place):
    table = read_json(own / place)
    required = set()
    for path in values(table):
        changed_table = json.loads(json.dumps(table))
        node = changed_table
        for key in path[:-1]:
            node = node[key]
        value = node.pop(path[-1])
        if isinstance(node, dict):
            node["another"] = value
        write_json(own / place, changed_table)
        message, of_comparison = said(write_report, own), said(lambda: compare_runs([own, finished]))
        if message:
            key_path = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path).removeprefix(".")
            assert message == f"{own / place} is damaged: {key_path}: this key is required"
            required.add(path[-1])
        assert of_comparison == (message if place == "run.json" else "")
    assert required == REQUIRED[place]


def test_any_value_in_metrics_gives_a_page(own):
    file = own / "factors" / "prior" / "metrics.jsonl"
    line = json.loads(file.read_text().splitlines()[0])
    rows = [with_value(line, (key,), text) for key in line for text in VALUES]
    file.write_text("\n".join([*rows, *(f'{{"factor": {text}}}' for text in VALUES)]))
    write_report(own)
    for row in rows:
        file.write_text(row)
        write_report(own)


@pytest.mark.parametrize("repeat", [2**62, 10**9, -5])
def test_a_recipe_of_endless_stages(finished, own, repeat):
    text = (own / "recipe.toml").read_text()
    (own / "recipe.toml").write_text(text.replace("repeat = 1", f"repeat = {repeat}"))
    assert f"repeat = {repeat}" in (own / "recipe.toml").read_text()
    with within(megabytes=300):
        assert "does not belong to this run's recipe" in said(compare_runs, [finished, own])
        assert "repeat" in said(auxar.load, own)
        (own / "evaluation.safetensors").unlink()
        write_report(own)


@pytest.mark.parametrize("stage", [3, "x", ["x"], [{}], [{"view": "pyramid", "repeat": "x"}], {"view": 1}])
def test_a_comparison_needs_a_recipe_with_stages(finished, own, stage):
    recipe(own, stage=stage)
    expected = f"{own / 'recipe.toml'} is damaged: each [[stage]] must be a table with a view, and `repeat` an integer"
    assert said(compare_runs, [finished, own]) == expected


def test_a_damaged_evaluation_is_made_again(finished, own, caplog):
    before = figures_of(own)
    (own / "evaluation.safetensors").write_text('{"bits_per_dim": {}}')
    verbs(finished)["run"](own)
    assert "evaluation.safetensors is damaged: " in caplog.text
    assert figures_of(own) == before


# Pictures


def png(width: int, height: int, content: bytes = b"") -> bytes:
    """Returns a PNG file without pixels and with this size in its header."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + content + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(2**31 - 1, 2**31 - 1), (2**32 - 1, 1), (20_000, 20_000)])
def test_pictures_of_absurd_size_are_left_out(own, size):
    (own / "samples" / "samples.png").write_bytes(png(*size))
    (own / "figures" / "map.png").write_bytes(png(*size))
    with within(megabytes=100):
        page = Page(write_report(own).read_text("utf-8"))
    assert "These pictures are too large for this page: samples/samples.png, figures/map.png." in page.text
    assert len(page.all("img")) == 1 + 5


def test_pictures_of_many_bytes_are_left_out(own):
    with (own / "samples" / "samples.png").open("r+b") as file:
        file.truncate(200 * 10**6)
    with within(megabytes=100):
        page = Page(write_report(own).read_text("utf-8"))
    assert "These pictures are too large for this page: samples/samples.png." in page.text


@pytest.mark.parametrize(
    "content", [b"", b"\x89PNG", b"\x89PNG\r\n\x1a\n" + b"\0" * 50, b"GIF89a" + b"\0" * 50, b"<svg>"]
)
def test_what_is_no_picture_is_named(own, content):
    (own / "samples" / "growth.png").write_bytes(content)
    assert said(write_report, own) == f"{own / 'samples' / 'growth.png'} is damaged: not a PNG image"


# Markup


def elements(file: Path) -> set[tuple[str, tuple[str, ...]]]:
    """Returns every kind of element on a page as (name, names of its attributes)."""
    return {(name, tuple(attributes)) for name, attributes in Page(file.read_text("utf-8")).elements}


CHOICES = ("factor", "support", "kind", "kept", "file", "checksums")
"""Keys of records that accept only a few fixed texts."""


def strings(node: Any) -> Any:
    """Returns the JSON data with every free text replaced by hostile markup."""
    if isinstance(node, dict):
        return {key: entry if key in CHOICES else strings(entry) for key, entry in node.items()}
    if isinstance(node, list):
        return [strings(entry) for entry in node]
    return HOSTILE if isinstance(node, str) else node


def with_texts(folder: Path, change: Callable[[Any], Any]) -> None:
    """Changes the texts of a run's evaluation."""
    tensors, metadata = read_tensors(folder / "evaluation.safetensors")
    facts = json.dumps(change(json.loads(metadata[FACTS])))
    write_tensors(folder / "evaluation.safetensors", tensors, {FACTS: facts})


def test_no_text_of_a_run_becomes_markup(own):
    clean = elements(write_report(own))
    with_texts(own, strings)
    for place in RECORDS[:2]:
        write_json(own / place, strings(read_json(own / place)))
    for name in FACTORS:
        file = own / "factors" / name / "metrics.jsonl"
        lines = [json.loads(line) | {"factor": HOSTILE} for line in file.read_text().splitlines()]
        file.write_text("\n".join(map(json.dumps, lines)))
    recipe(own, data__path=HOSTILE, prior__name=HOSTILE, plugins=[HOSTILE])
    with (own / "recipe.toml").open("a") as file:
        file.write(f"# {HOSTILE} </code></pre><script>alert(1)</script>")
    # A file name cannot contain a slash.
    named = own.rename(own.with_name(HOSTILE.replace("/", "")))
    page = Page(write_report(named).read_text("utf-8"))
    assert elements(named / "report.html") <= clean
    assert len(page.all("script")) == 1
    assert len(page.all("img")) == 2 + 6
    assert page.text.count("<script>") > 20
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]


def test_no_text_of_a_run_becomes_markup_in_a_comparison(finished, own):
    out = own.parent / "page.html"
    assert main(["compare", str(finished), str(own), "--out", str(out)]) == 0
    clean = elements(out) | {("p", ("class",))}  # Notes, which the clean page does not have.
    with_texts(own, strings)
    named = own.rename(own.with_name(HOSTILE.replace("/", "")))
    assert main(["compare", str(named), str(finished), "--out", str(out)]) == 0
    assert elements(out) <= clean
    page = Page(out.read_text("utf-8"))
    assert page.text.count(HOSTILE) >= 3
    assert "script" not in {name for name, _ in elements(out)}


# Terminals


CONTROL = "\x1b[2J\x1b]0;title\x07\r\x9b1A\u202e\u2066\x7f\x08evil"


def test_what_is_printed_does_not_control_the_terminal(finished, own, capsys):
    with_texts(own, controlling)
    assert main(["compare", str(finished), str(own)]) == 0
    recipe(own, data__path=CONTROL)
    assert main(["evaluate", str(own)]) == 2
    output = capsys.readouterr()
    assert "evil" in output.out
    assert "evil" in output.err
    for line in (output.out + output.err).replace("\r", "\n").split("\n"):
        assert line.replace("\t", " ").isprintable(), ascii(line)


def controlling(node: Any) -> Any:
    """Returns the JSON data with every free text replaced by characters that control a terminal."""
    return json.loads(json.dumps(strings(node)).replace(json.dumps(HOSTILE), json.dumps(CONTROL)))


def test_names_that_are_no_text_are_kept(tmp_path):
    """File names that are not valid Unicode, for example of given images, can be stored in JSON."""
    write_json(tmp_path / "file.json", {"given": ["\udcff.png"]})
    assert read_json(tmp_path / "file.json") == {"given": ["\udcff.png"]}


def test_reading_is_bounded(tmp_path):
    (tmp_path / "file").write_bytes(b"x" * 100)
    assert read_bytes(tmp_path / "file", 100) == b"x" * 100
    assert "is too large: expected at most 99 bytes" in said(read_bytes, tmp_path / "file", 99)
