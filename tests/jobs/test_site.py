"""Tests of the settings of a site: its file, the options that replace its keys, and the formats of times."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auxar import UserError
from auxar.jobs.site import LONGEST_TIME, Site, read_site


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


@given(days=st.integers(0, 300), hours=st.integers(0, 23), minutes=st.integers(0, 59), seconds=st.integers(0, 59))
def test_times_have_the_formats_of_slurm(days, hours, minutes, seconds):
    total = ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    texts = [f"{days}-{hours}:{minutes:02}:{seconds:02}", f"{days * 24 + hours}:{minutes:02}:{seconds:02}"]
    texts.append(f"{total // 60}:{total % 60:02}")
    if seconds == 0:
        texts += [f"{days}-{hours}:{minutes:02}", str(total // 60)]
        if minutes == 0:
            texts.append(f"{days}-{hours}")
    for text in texts:
        if not 0 < total <= LONGEST_TIME * 60:
            with pytest.raises(ValueError, match="from a minute to a year"):
                Site(time=text)
        else:
            # A started minute counts, so that the limit is not shorter than the given time.
            assert Site(time=text).minutes == -(-total // 60)


def test_options_replace_the_keys_of_the_file(tmp_path):
    file = write(
        tmp_path / "site.toml", 'on = "slurm"\ntime = "1:00:00"\ngpus_per_job = 2\n[slurm]\nconstraint = "a100"'
    )
    site = read_site(file, {"on": None, "time": "30", "partition": "short"})
    assert site == Site("slurm", 2, time="30", partition="short", slurm={"constraint": "a100"})
    assert (site.processes, site.minutes) == (2, 30)


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("", {}, "on: expected slurm or local, or a site's file (--site) with the key `on`"),
        ('on = "slurm"', {}, "time: jobs of Slurm need a time limit: a time such as 24:00:00"),
        ('on = "slurm"', {"time": "soon"}, "time: expected a time such as 24:00:00, or 2-12 for"),
        ('on = "pbs"', {}, "{file}: on: expected one of slurm, local, got 'pbs'"),
        ("gpu_per_job = 2", {"on": "local"}, "{file}: unknown key 'gpu_per_job'; did you mean 'gpus_per_job'?"),
        ("gpus_per_job = -1", {"on": "local"}, "{file}: gpus_per_job: expected at least 0, got -1"),
        (
            "gpus_per_job = 1",
            {"on": "local", "processes_per_job": 2},
            "processes_per_job: expected at most the number",
        ),
        ("= 1", {}, "{file} is not a TOML file"),
        ("", {"on": "slurm", "time": "2"}, "time: expected more than the 120 seconds before its end"),
    ],
)
def test_wrong_settings_have_one_sentence(tmp_path, text, options, message):
    file = write(tmp_path / "site.toml", text)
    with pytest.raises(UserError) as caught:
        read_site(file, options)
    assert str(caught.value).startswith(message.format(file=file))
