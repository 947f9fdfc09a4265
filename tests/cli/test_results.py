"""Tests of the output of commands: results on standard output as text or JSON, and the options about messages."""

import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from helpers.evaluations import figures_of
from helpers.tiny_runs import PROJECT, process_environment

import auxar
from auxar.cli import main
from auxar.cli.completion import completion_script
from auxar.cli.parser import command_line

# Messages and progress


@pytest.mark.parametrize(
    ("before", "after", "level"),
    [
        ("", "", logging.INFO),
        ("-q", "", logging.WARNING),
        ("", "--log-level error", logging.ERROR),
        ("--log-level debug", "--log-level warning", logging.WARNING),
    ],
)
def test_options_about_messages_stand_before_or_after_the_command(monkeypatch, before, after, level):
    logger = logging.getLogger("auxar")
    found = []

    def command(files: object) -> None:
        found.append(logger.level)
        raise OSError

    monkeypatch.setattr("auxar.plugins.load_plugins", command)
    earlier = logger.level
    assert main([*before.split(), "plugins", *after.split()]) == 2
    assert (found, logger.level) == ([level], earlier)


def test_a_redirected_run_writes_lines_and_its_result(recipe, capsys, caplog):
    assert main(["run", str(recipe)]) == 0
    output = capsys.readouterr()
    assert "\r" not in output.err
    lines = [message for message in caplog.messages if message.startswith(("prior", "stage0", "sampling"))]
    assert [line.split(":")[1].split(",")[0] for line in lines] == [
        *[" step 0 of 4 (0 %)", " step 4 of 4 (100 %)"] * 2,
        *[" image 0 of 1 (0 %)", " image 1 of 1 (100 %)"],
    ]
    names = [line.split()[0] for line in output.out.splitlines()]
    assert names == ["run", "bits/dim", "report", "samples"]
    table = figures_of(Path("runs/tiny"))
    assert f"{table['bits_per_dim']['heldout']:.4f} ± {table['standard_error']['heldout']:.4f} on 6" in output.out
    # A finished run has the same result.
    caplog.clear()
    assert main(["run", str(recipe), "-q"]) == 0
    assert capsys.readouterr() == (output.out, "")
    assert not caplog.messages


def test_the_function_returns_what_the_command_prints(finished, capsys):
    assert main(["run", str(finished.with_suffix(".toml")), "--out", str(finished), "-q", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    run = auxar.run(finished.with_suffix(".toml"), out=finished)
    assert run.to_dict() == printed
    assert (run.bits_per_dim, run.standard_error) == (printed["bits_per_dim"], printed["standard_error"])
    assert auxar.evaluate(run).bits_per_dim == run.bits_per_dim
    shown = run._repr_html_()
    assert shown.startswith("<pre>run ")
    assert f"{run.bits_per_dim:.4f} ± {run.standard_error:.4f} on" in shown


def test_a_run_with_untrained_factors_has_no_total(recipe, capsys):
    arguments = ["run", str(recipe), "--factors", "prior", "-q"]
    assert main(arguments) == 0
    assert "bits/dim  no total, because these factors are not trained yet: stage0\n" in capsys.readouterr().out
    assert main([*arguments, "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["bits_per_dim"], summary["samples"]) == (None, None)
    assert [factor["steps"] for factor in summary["factors"]] == [0, 4]
    assert main(["evaluate", "runs/tiny", "-q"]) == 0
    told = capsys.readouterr().out
    assert told.endswith("\nthere is no total, because these factors are not trained yet: stage0\n")
    assert "own image and views" in told


def test_plugins_and_libraries_print_to_standard_error(tmp_path, capsys):
    hook = "from auxar import hookimpl\n@hookimpl\ndef auxar_register_components(): return []\n"
    (tmp_path / "loud.py").write_text(f"{hook}AUXAR_INTERFACE = 1\nprint('loaded')\n", encoding="utf-8")
    assert main(["plugins", str(tmp_path / "loud.py"), "--json"]) == 0
    output = capsys.readouterr()
    assert output.err == "loaded\n"
    assert json.loads(output.out)


def test_only_the_main_process_prints(monkeypatch, capsys):
    monkeypatch.setenv("RANK", "1")
    assert main(["plugins"]) == 0
    assert capsys.readouterr() == ("", "")


# JSON

FACTOR = {"factor", "formula", "image", "view", "parameters", "multiply_adds", "memory"}
EVALUATED = {"bits_per_dim", "standard_error", "kind", "factors", "images", "weights", "data", "difference"}
EVALUATED |= {"wasted_bits_per_dim", "wasted_standard_error", "arithmetic", "checksums", "digests"}
EVALUATED |= {"condition", "without_condition", "condition_figures", "codecs", "rule"}
COST = {"seconds", "multiply_adds"}
RUN = {"run", "bits_per_dim", "standard_error", "kind", "condition", "heldout_images", "factors", "others"}
RUN |= {"evaluation", "report", "samples", "figures"}
SAMPLED = {"folder", "rule", "meaning", "seed", "count", "sampler", "seconds", "key", "columns"}
KEYS: dict[str, tuple[set[str], str, set[str]]] = {
    "run RECIPE --out RUN": (RUN, "factors", {"factor", "steps", "bits_per_dim", "standard_error"}),
    "check RECIPE": ({"recipe", "precision", "factors"}, "factors", FACTOR | {"recompute"}),
    "compare RUN RUN": ({"image", "runs", "settings"}, "runs", {"run", "margin", "notes"} | COST | EVALUATED),
    "sample RUN -n 1 --out ψ": (SAMPLED | {"bits_per_dim", "kind", "arithmetic"}, "", set()),
    "figures RUN --rows 1": ({"folder", "figures"}, "figures", {"file", "title", "caption"}),
    "views RECIPE --depth 1 --out ψ": ({"path", "depth", "files"}, "files", {"file", "images"}),
    "recipes": (set(), "", {"name", "purpose", "time", "memory", "result", "path"}),
    "plugins": (set(), "", {"kind", "name", "provider", "summary", "options"}),
    "evaluate RUN": (EVALUATED | {"run"}, "factors", {"factor", "heldout", "training", "steps"}),
}
"""The keys of each command's JSON, the key of its list of objects, and keys of these objects. They do not change."""


@pytest.mark.parametrize("words", KEYS)
def test_json_has_the_documented_keys_and_nothing_else_is_printed(finished, recipe, tmp_path, capsys, words):
    places = {"RECIPE": str(finished.with_suffix(".toml")), "RUN": str(finished)}
    assert main(["-q", *(places.get(word, word) for word in words.split()), "--json"]) == 0
    output = capsys.readouterr()
    assert output.err == ""
    assert output.out.isascii()
    found: Any = json.loads(output.out)
    keys, name, inner = KEYS[words]
    assert (set(found) if keys else set()) == keys
    for entry in found[name] if name else [] if keys else found:
        assert inner <= set(entry)
    documented = (PROJECT / "docs" / "commands.md").read_text(encoding="utf-8").split("<!-- generated")[0]
    for key in keys - EVALUATED - {"image", "runs"}:
        assert f"`{key}`" in documented


# Start and completion


def test_a_sample_imports_only_libraries_that_it_uses(tmp_path):
    code = (
        "import sys; from auxar.cli import main; main(['sample', 'emoji32', '-n', '1', '--out', sys.argv[1], '-q']); "
        "print(*sorted({'datasets', 'pandas', 'torch._dynamo', 'torch._inductor'} & set(sys.modules)))"
    )
    out = tmp_path / "out"
    done = subprocess.run([sys.executable, "-c", code, str(out)], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [str(out), ""]


WORDS = {
    "RECIPE": ["quickstart", "small/emoji"],
    "RUN": ["emoji32"],
    "RULE": ["ancestral", "reduced"],
    "KIND": ["head"],
}


@pytest.fixture(scope="module")
def script(tmp_path_factory) -> Path:
    """The completion script for bash."""
    path: Path = tmp_path_factory.mktemp("completion") / "auxar.bash"
    path.write_text(completion_script(command_line(), "bash", WORDS), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("auxar ru", ["run"]),
        ("auxar sample --rule re", ["reduced"]),
        ("auxar check m", ["mine.toml", "my"]),
        ("auxar run small/", ["small/emoji"]),
        ("auxar new-plugin --kind he", ["head"]),
        ("auxar -q comp", ["compare", "compress"]),
    ],
)
def test_bash_completes(script, tmp_path, line, expected):
    (tmp_path / "mine.toml").touch()
    (tmp_path / "my.txt").touch()
    (tmp_path / "my").mkdir()
    words = line.split()
    code = f"""
        source {script}
        COMP_WORDS=({line}) COMP_CWORD={len(words) - 1}
        _shtab_auxar auxar {words[-1]} {words[-2]} 2>/dev/null
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(
        ["bash", "-c", code], cwd=tmp_path, env=process_environment(), capture_output=True, text=True, check=True
    )
    assert sorted({word.removesuffix("/") for word in done.stdout.split()}) == expected


@pytest.mark.parametrize(
    ("shell", "rules", "folders"),
    [
        ("bash", "(ancestral", "compgen -d"),
        ("zsh", ":(ancestral", "_files -/"),
        ("tcsh", "(ancestral", "'n/sample/d/'"),
    ],
)
def test_a_completion_script_names_every_command_and_rule(capsys, shell, rules, folders):
    with pytest.raises(SystemExit, match=r"^0$"):
        main(["--print-completion", shell])
    text = capsys.readouterr().out
    for part in ("new-plugin", rules, folders):
        assert part in text
    if shell == "bash":
        assert subprocess.run(["bash", "-n"], input=text, text=True).returncode == 0
