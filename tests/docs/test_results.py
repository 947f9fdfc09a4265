"""Tests of the page on results: figures are read from finished runs of the right recipes, and shown as measured."""

from __future__ import annotations

import json
import re
import shutil

import attrs
import pytest
from helpers.evaluations import nats_of
from helpers.tiny_runs import PROJECT, metrics, run, tiny, write_pictures

import auxar
from auxar.evaluation.comparison import compare_runs
from auxar.recipe import load_recipe_of_run

RESTRICTED = {"stage__0__support": "restricted"}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder with runs of a tiny recipe. The prior and the restricted decoder are in runs of their own."""
    folder = tmp_path_factory.mktemp("runs")
    table = tiny(write_pictures(folder / "pictures"), training__steps=2, evaluation__train_images=0)
    run(folder / "prior", tiny(folder / "pictures", **RESTRICTED, training__steps=2), only=["prior"])
    run(folder / "tight", tiny(folder / "pictures", **RESTRICTED, training__steps=3), only=["stage0"])
    run(folder / "free", table, only=["stage0"])
    run(folder / "seed", tiny(folder / "pictures", training__seed=1, training__steps=2))
    for name in ("unfinished", "other"):
        shutil.copytree(folder / "free", folder / name)
    (folder / "unfinished" / "evaluation.safetensors").unlink()
    recipe = folder / "other" / "recipe.toml"
    recipe.write_text(recipe.read_text().replace("learning_rate = 0.001", "learning_rate = 0.002"))
    return folder


@pytest.fixture
def measured(generate, runs, monkeypatch, capsys):
    """The measurements of the runs, and the text that reading them has printed."""
    results = generate("results")
    names = {"tiny": "free", "tight/tiny": "tight"}
    recipes = [(name, load_recipe_of_run(runs / path / "recipe.toml")[0]) for name, path in names.items()]
    monkeypatch.setattr(results, "shipped", lambda: recipes)
    return results.measure([runs], "a machine"), capsys.readouterr().out


def test_factors_of_several_runs_are_one_model(measured, runs):
    found, printed = measured
    assert f"{runs / 'other'}: left out, because it has the settings of none" in printed
    assert f"{runs / 'unfinished'}: left out: " in printed
    assert set(found.models) == {"tiny", "tight/tiny"}
    tight, free = found.models["tight/tiny"], found.models["tiny"]
    assert (tight.kind, tight.seeds, tight.training_images, tight.heldout_images) == ("exact", [0], 18, 6)
    assert (free.kind, free.seeds, [factor.steps for factor in free.factors]) == ("bound", [0, 1], [2, 2])
    assert [factor.steps for factor in tight.factors] == [3, 2]
    # The sum over factors that lie in two runs.
    nats = nats_of(runs / "tight")[0] + nats_of(runs / "prior")[0]
    dims = 192
    assert tight.bits_per_dim == pytest.approx(-nats.mean() / dims / 0.6931472, abs=2e-5)
    assert tight.factors[0].cumulative == tight.bits_per_dim
    assert tight.deviation is None
    assert tight.factors[0].wasted is None
    # The free model's first seed has the prior of the restricted one.
    nats = nats_of(runs / "free")[0] + nats_of(runs / "prior")[0]
    totals = [-each.mean() / dims / 0.6931472 for each in (nats, nats_of(runs / "seed").sum(0))]
    assert free.bits_per_dim == pytest.approx(sum(totals) / 2, abs=2e-5)
    assert free.deviation == pytest.approx(abs(totals[0] - totals[1]) / 2**0.5, abs=2e-5)
    assert free.factors[0].wasted > 0


def test_differences_are_those_of_compare(measured, runs):
    found, _ = measured
    apart = found.difference("tight/tiny", "tiny", "stage0")
    (_, compared) = compare_runs([runs / "free", runs / "tight"]).runs
    margin = compared.factors[0].margin
    assert apart.bits_per_dim == pytest.approx(margin.bits_per_dim, abs=2e-5)
    assert apart.error == pytest.approx(margin.standard_error, abs=2e-5)
    assert found.difference("tight/tiny", "tiny") is not None
    assert found.difference("tiny", "tight/tiny") is None
    curve = found.curve("tight/tiny", "stage0")
    assert curve.training == [
        (entry["step"], pytest.approx(entry["bits_per_dim"], abs=1e-5)) for entry in metrics(runs / "tight")
    ]


def test_measurements_are_written_and_replace_earlier_ones(generate, measured, tmp_path):
    measurements, (found, _) = generate("measurements"), measured
    measurements.write_measurements(found, tmp_path / "results.json")
    assert measurements.read_measurements(tmp_path / "results.json") == found
    old = attrs.evolve(found.models["tiny"], machine="another", seeds=[5])
    earlier = attrs.evolve(found, models={"tiny": old, "else": old})
    later = earlier.updated(found)
    assert later.models == {**found.models, "else": old}
    assert (later.differences, later.curves) == (found.differences, found.curves)


def test_tables_and_curves_show_what_is_measured(generate, measured):
    tables, pictures, (found, _) = generate("result_tables"), generate("result_pictures"), measured
    named = {"tiny": tables.COARSE, "tight/tiny": f"tight/{tables.COARSE}"}
    models = {
        named[name]: attrs.evolve(
            model, recipe=named[name], factors=[attrs.evolve(model.factors[0], height=16, factor="stage1")]
        )
        for name, model in found.models.items()
    }
    moved = attrs.evolve(
        found,
        models=models,
        differences=[
            attrs.evolve(one, recipe=named[one.recipe], baseline=named[one.baseline], factor="stage1")
            for one in found.differences
        ],
        curves=[
            attrs.evolve(one, recipe=named[one.recipe], factor="stage1")
            for one in found.curves
            if one.factor == "stage0"
        ],
    )
    (row,) = [line for line in tables.table_2(moved).splitlines() if line.startswith("| 16×16 | 4.30 |")]
    bits = [models[recipe].bits_per_dim for recipe in named.values()]
    assert re.findall(r"(\d+\.\d+) ± \S+ \((\w+)\)", row) == [(f"{bits[0]:.3f}", "bound"), (f"{bits[1]:.3f}", "exact")]
    (row,) = [line for line in tables.gain(moved).splitlines() if "stage" not in line and COARSE_ROW in line]
    apart = found.difference("tight/tiny", "tiny", "stage0")
    saved = -apart.bits_per_dim
    assert f"| {'−' if saved < 0 else '+'}{abs(saved):.3f} ± {apart.error:.3f} |" in row
    shown = pictures.result_pictures(moved)
    assert list(shown) == ["results-table2.svg"]
    assert shown["results-table2.svg"].draw().count("16×16 given 8×8") == 1
    nothing = type(found)()
    assert pictures.result_pictures(nothing) == {}
    for table in tables.TABLES.values():
        assert not re.search(r"\d ± \d", table(nothing))


COARSE_ROW = "| `small/table2_coarse` |"


def test_no_sheet_with_images_of_the_data_is_copied(generate, tmp_path, monkeypatch):
    sheets = generate("result_sheets")
    monkeypatch.setattr(sheets, "PICTURES", tmp_path / "pictures")
    page = tmp_path / "results.md"
    page.write_text("<!-- generated: sheets tight/tiny 2 3 4 5 6 -->\n<!-- generated: sheets tight/other 2 3 -->")
    monkeypatch.setattr(sheets, "PAGE", page)
    names = ["views", "given", "reduction", "map", "growth", "memorization"]
    figures = tmp_path / "run" / "figures"
    figures.mkdir(parents=True)
    for name in names:
        (figures / f"{name}.png").write_bytes(name.encode())
    entries = [{"file": f"{name}.png", "title": f"Title {name}", "caption": "Caption."} for name in names]
    (figures / "figures.json").write_text(json.dumps(entries))
    found = sheets.copied_sheets(tmp_path / "run", "tight/tiny", views=False)
    assert {sheet.figure: sheet.title for sheet in found} == {
        2: "Title views",
        4: "Title reduction",
        5: "Title map",
        6: "Title growth",
    }
    assert sorted(path.name for path in (tmp_path / "pictures").iterdir()) == sorted(sheet.file for sheet in found)
    assert {(tmp_path / "pictures" / sheet.file).read_text() for sheet in found} == set(sheets.FIGURES)
    assert found[0].file == "tight-tiny-views.png"
    found = sheets.copied_sheets(tmp_path / "run", "tight/other", views=False)
    assert [sheet.figure for sheet in found] == [2]


def test_the_sheet_in_place_of_figure_3_begins_with_drawn_images(generate, runs, tmp_path, monkeypatch):
    sheets = generate("result_sheets")
    (tmp_path / "pictures").mkdir()
    monkeypatch.setattr(sheets, "PICTURES", tmp_path / "pictures")
    asked = []
    sample = auxar.sample

    def watched(*given, **named):
        asked.append((given, named))
        return sample(*given, **named)

    monkeypatch.setattr(auxar, "sample", watched)
    sheet = sheets.given_drawn(runs / "seed", "tiny")
    assert (tmp_path / "pictures" / sheet.file).stat().st_size > 100
    (first, drawn), (second, others) = asked
    assert first == second == (runs / "seed",)
    assert others["given"] == [drawn["out"] / "images"]


def test_values_of_an_earlier_version_are_those_of_the_recipe(generate):
    model = generate("measurements").read_measurements().models["small/celeba32"]
    if model.networks == 1:
        header = (PROJECT / "recipes" / "small" / "celeba32.toml").read_text("utf-8").partition("\n[data]")[0]
        said = re.findall(r"(\d+\.\d+) ± (\d+\.\d+)", header)
        for factor in model.factors:
            assert (f"{factor.cumulative:.2f}", f"{factor.cumulative_error:.2f}") in said


@pytest.mark.slow
def test_models_of_table_1_in_small_take_the_same_compute():
    work = {}
    for name in ("plain", "grayscale", "pyramid"):
        recipe, registry = auxar.load_recipe(f"small/table1/{name}")
        work[name] = 0
        for cost in auxar.factor_costs(recipe, registry):
            config = recipe.training_of(cost.factor)
            assert config.steps is not None
            work[name] += cost.training_multiply_adds * config.steps * config.batch_size
    # The headers of the recipes and the page give this number.
    assert work == {name: pytest.approx(4.1e13, rel=0.002) for name in work}
