"""Tests that models are uploaded to the Hugging Face hub and used from there, with its real client on this machine."""

import json
import shutil
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from helpers.evaluations import figures_of
from helpers.hub import TOKEN, serving
from helpers.tiny_runs import VIEW, changed, run, snapshot, tiny
from huggingface_hub import constants

import auxar
from auxar.cli import main
from auxar.errors import UserError
from auxar.evaluation.stored import read_evaluation
from auxar.runs.hub import PATTERNS
from auxar_hub import push
from auxar_hub.card import card as card_of
from auxar_hub.uploading import REPLACED

NAME = "someone/tiny-model"


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """The hub, empty, for a user who is logged in, in an empty working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    with serving() as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.address)
        template = server.address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        yield server


def files(hub, name=NAME):
    """The files of a repository's last commit."""
    return hub.repositories[name].commits[-1][1]


def test_a_model_is_uploaded_and_used_by_its_name(finished, hub, tmp_path, capsys):
    before = snapshot(finished)
    assert main(["push", str(finished), NAME, "--license", "mit", "--images", "2", "--json"]) == 0
    pushed = json.loads(capsys.readouterr().out)
    commit = hub.repositories[NAME].commits[-1][0]
    assert pushed == {"name": NAME, "url": f"{hub.address}/{NAME}", "commit": commit}
    assert snapshot(finished) == before
    factors = {
        f"factors/{name}/{file}" for name in ("stage0", "prior") for file in ("weights.safetensors", "metrics.jsonl")
    }
    others = {"README.md", "evaluation.safetensors", "growth.png", "recipe.toml", "run.json", "samples.png"}
    assert set(files(hub)) == factors | others
    card = huggingface_hub.ModelCard(files(hub)["README.md"].decode())
    metadata = card.data.to_dict()
    (result,) = metadata["model-index"][0]["results"][0]["metrics"]
    expected = figures_of(finished)["bits_per_dim"]["heldout"]
    assert result["value"] == pytest.approx(expected, abs=1e-5)
    assert result["name"] == "bits/dim (an upper bound)"
    assert (metadata["license"], metadata["library_name"]) == ("mit", "auxar")
    assert f'auxar.load("{NAME}")' in card.text
    assert f"| total, an upper bound |  | {expected:.4f} ± " in card.text

    images = torch.randint(256, (2, 3, 8, 8))
    local, remote = auxar.load(finished), auxar.load(NAME)
    assert torch.equal(local.log_prob(images), remote.log_prob(images))
    assert main(["sample", NAME, "-n", "1", "-q"]) == 0
    assert [path.name for path in (tmp_path / f"someone--tiny-model@{commit[:8]}").iterdir()] == ["samples"]


def test_nothing_of_the_machine_is_uploaded(finished, pictures, hub):
    push(finished, NAME, images=1)
    for folder in (pictures.parent, finished.parent, Path.home()):
        assert not [name for name, content in files(hub).items() if str(folder).encode() in content]
    assert "It was trained on images of its author." in files(hub)["README.md"].decode()


def test_revisions_can_be_chosen(finished, hub):
    first = push(finished, NAME, images=0)
    other = Path(shutil.copytree(finished, "other"))
    text = (other / "recipe.toml").read_text("utf-8")
    (other / "recipe.toml").write_text(f"# A second model.\n\n{text}", "utf-8")
    mine = ("notes.txt", "evaluation-notes.txt", "evaluation_results/mine.json", "plugins/inner/mine.py")
    files(hub).update(dict.fromkeys(mine, b"mine"))
    files(hub)["factors/stage7/weights.safetensors"] = b"of an earlier model"
    with pytest.raises(UserError, match=rf"^{NAME} exists on the hub .*; --update uploads a new revision$"):
        push(other, NAME, images=0)
    second = push(other, NAME, images=0, update=True)
    assert [files(hub)[name] for name in mine] == [b"mine"] * 4
    assert "factors/stage7/weights.safetensors" not in files(hub)
    for name, comment in ((NAME, True), (f"{NAME}@{second.commit}", True), (f"{NAME}@{first.commit}", False)):
        folder = auxar.export(name, f"exported-{name.rpartition('@')[2].replace('/', '-')}")
        assert folder.recipe.read_text("utf-8").startswith("# A second model.") is comment
    auxar.load(NAME, revision=first.commit)
    with pytest.raises(UserError, match=rf"^the model '{NAME}' on the Hugging Face hub \(.*\) has no revision 'v9'$"):
        auxar.load(NAME, revision="v9")
    with pytest.raises(UserError, match=r"^revision: .* names the revision 'main' already; give one of the two$"):
        auxar.load(f"{NAME}@main", revision="v9")
    with pytest.raises(UserError, match=r"has no revision 'refs/pr/1'$"):
        auxar.load(NAME, revision="refs/pr/1")
    with pytest.raises(UserError, match=r"^revision: only models on the Hugging Face hub have revisions, and"):
        auxar.load(finished, revision="v9")


def test_repositories_with_other_contents_are_not_changed(finished, hub):
    api = huggingface_hub.HfApi()
    api.create_repo(NAME)
    files(hub)["model.bin"] = b"of another library"
    with pytest.raises(UserError, match=rf"^{NAME} exists on the hub .* and holds no model of auxar"):
        push(finished, NAME, images=0, update=True)
    api.create_repo("someone/new")
    files(hub, "someone/new")["README.md"] = b"# New"
    with pytest.raises(UserError, match=r"^someone/new exists .* and is public, so --private would not hide it"):
        push(finished, "someone/new", images=0, update=True, private=True)
    push(finished, "someone/new", images=0, update=True)
    assert auxar.load("someone/new").recipe is not None


def test_training_begins_with_a_model_of_the_hub(finished, pictures, hub, tmp_path):
    pushed = push(finished, NAME, images=0)
    table = tiny(pictures, sampling__images=0, training__steps=1, training__init=f"hf://{NAME}@{pushed.commit}")
    made = run(tmp_path / "further" / "run", table)
    (tmp_path / "someone").mkdir()  # Folders of this name do not matter.
    run(made, table)
    recipe = auxar.load_recipe(made / "recipe.toml")
    assert recipe.training.init == f"hf://{NAME}@{pushed.commit}"
    with pytest.raises(UserError, match="is not a run's folder"):
        run(tmp_path / "other" / "run", tiny(pictures, training__init=NAME))


def test_a_model_in_the_cache_needs_no_network(finished, hub, monkeypatch):
    push(finished, NAME, images=0)
    auxar.load(NAME)
    asked = len(hub.requests)
    auxar.load(NAME)
    assert not [each for each in hub.requests[asked:] if "weights" in each]
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # nothing answers there
    auxar.load(NAME)
    with pytest.raises(
        UserError, match=r"^the model 'someone/else' on the Hugging Face hub .* could not be downloaded"
    ):
        auxar.load("someone/else")


def test_names_that_are_not_on_the_hub(finished, hub, tmp_path):
    with pytest.raises(UserError) as error:
        auxar.load("someone/none")
    assert str(error.value) == (
        f"'someone/none' is neither the folder of a run nor a model on the Hugging Face hub ({hub.address}): there is "
        "none of this name, or it is private (`hf auth login` gives access to your own)"
    )
    huggingface_hub.HfApi().create_repo("someone/empty")
    with pytest.raises(UserError, match=r"^'someone/empty' on the .* is no model of auxar: it has no recipe\.toml$"):
        auxar.load("someone/empty")
    huggingface_hub.HfApi().upload_file(path_or_fileobj=b"[data]", path_in_repo="recipe.toml", repo_id="someone/empty")
    with pytest.raises(UserError, match=r"^'someone/empty' on the .* is no model of auxar: it has no run\.json$"):
        auxar.load("someone/empty")
    asked = len(hub.requests)
    # A path whose first part exists is not looked for on the hub, nor is one in the folder of runs.
    shutil.copytree(finished, tmp_path / "mine" / "run")
    auxar.load("mine/run")
    for path in ("mine/rum", "mines/run", "runs/tiny", "someone/none/else"):
        with pytest.raises(UserError, match="is not a run's folder"):
            auxar.load(path)
    assert len(hub.requests) == asked


def test_private_models_and_wrong_tokens(finished, hub, monkeypatch):
    push(finished, NAME, private=True, images=0)
    auxar.load(NAME)
    shutil.rmtree(constants.HF_HUB_CACHE)
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(UserError, match="there is none of this name, or it is private"):
        auxar.load(NAME)
    for token in (None, "hf_wrong"):
        if token is not None:
            monkeypatch.setenv("HF_TOKEN", token)
        with pytest.raises(UserError, match=r"^someone/new.*`hf auth login`"):
            push(finished, "someone/new", images=0)
    with pytest.raises(UserError, match=r"could not be downloaded, and is .*; `hf auth login` sets your token$"):
        auxar.load(NAME)
    assert list(hub.repositories) == [NAME]


def test_plugin_files_from_the_hub_are_run_only_on_request(pictures, hub, tmp_path):
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "views.py").write_text(VIEW)
    table = changed(
        tiny(pictures, sampling__images=0), stage__0__view={"name": "thin", "every": 2}, plugins=["views.py"]
    )
    made = run(tmp_path / "made" / "run", table)
    push(made, NAME, images=0, trust_plugins=True)
    card = files(hub)["README.md"].decode()
    assert "They are code" in card
    assert f"auxar sample {NAME} -n 16 --trust-plugins" in card
    with pytest.raises(UserError, match="trust"):
        auxar.load(NAME)
    auxar.load(NAME, trust_plugins=True)


@pytest.mark.parametrize("quiet", [True, False])
def test_bars_of_the_library_are_shown_with_messages(finished, hub, monkeypatch, caplog, quiet):
    hidden: list[bool] = []
    bars: Any = huggingface_hub.utils

    def noting(place, name):
        own = getattr(place, name)

        def call(*arguments, **options):
            hidden.append(bars.are_progress_bars_disabled())
            return own(*arguments, **options)

        monkeypatch.setattr(place, name, call)

    noting(huggingface_hub, "snapshot_download")
    noting(huggingface_hub.HfApi, "upload_folder")
    with caplog.at_level("WARNING" if quiet else "INFO", "auxar"):
        push(finished, NAME, images=0)
        auxar.load(NAME)
    assert hidden == [quiet, quiet]
    assert not bars.are_progress_bars_disabled()


def test_the_files_of_a_model_are_downloaded_and_those_of_an_earlier_one_replaced():
    needed = ["run.json", "recipe.toml"]
    further = ["integer.json", "evaluation.safetensors", "evaluation-integer.safetensors", "plugins/views.py"]
    further += [f"factors/prior/{file}" for file in ("weights.safetensors", "integer.safetensors", "metrics.jsonl")]
    other = ["README.md", "factors/prior/training-000000001.txt", "notes.txt"]
    utils: Any = huggingface_hub.utils
    found = utils.filter_repo_objects([*needed, *further, *other], allow_patterns=list(PATTERNS))
    assert list(found) == [*needed, *further]
    pictures = ["samples.png", "growth.png"]
    assert list(filter(REPLACED.fullmatch, [*needed, *further, *other, *pictures])) == [*further, *pictures]


def test_a_model_in_half_precision_has_no_evaluation(finished, hub):
    push(finished, NAME, half=True, images=0)
    assert "The model was not evaluated." in files(hub)["README.md"].decode()


@pytest.mark.parametrize("name", ["tiny", "a/b/c", "someone/tiny@main", "", 3, "../run", "hf://someone/tiny"])
def test_names_of_repositories_and_licenses_are_checked(finished, name):
    with pytest.raises(UserError, match=r"^name: expected the name of a repository, such as 'user/name', got"):
        push(finished, name)
    with pytest.raises(UserError, match=r"^license: expected the identifier of a license, such as 'mit', got"):
        push(finished, NAME, license="mit\nname: x")


def test_a_card_says_what_the_recipe_and_the_evaluation_say():
    run = auxar.load("emoji32").run
    assert run is not None
    text = card_of("me/emoji", run, None, {"samples.png": "Samples"}, trust_plugins=False)
    assert "\nFaces, animals and food at 32×32, drawn from every fourth and then every second row and column, " in text
    assert "## License\n\nApache-2.0 for the weights. They were trained on emoji of Noto Emoji (Apache-2.0" in text
    assert "![Samples](samples.png)" in text
    assert "It was trained on `emoji`." in text
    evaluation = read_evaluation(run.evaluation)
    for factor in evaluation.factors:
        bits = evaluation.bits_per_dim("heldout", factor.factor).value
        assert f"| {factor.factor} | {factor.steps:,} | {bits:.4f} ± " in text
    assert f"| total, exact |  | {evaluation.bits_per_dim().value:.4f} ± " in text
    text = card_of("me/letters", auxar.load("letters32").run or run, None, {}, trust_plugins=False)
    assert "| total, exact, given each image's label |" in text
    assert "name: bits/dim (exact, given each image's label)" in text
