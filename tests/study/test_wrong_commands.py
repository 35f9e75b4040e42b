"""Wrong commands end in one helpful line each and exit code 2, before torch, Ray or anything else is loaded."""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import study
from study import __main__ as kd_study

WRONG = [
    ("swep", "command must be one of init, sweep, .* but got 'swep'; did you mean sweep?"),
    ("sweep train.stps=3", "train.stps is not a key of the config; allowed: steps, .*; did you mean train.steps?"),
    ("sweep train.steps=-1", "train.steps must be a whole number from 1 to 1000000000 but got -1"),
    ("sweep train.steps=1e-3", "train.steps must be a whole number from 1 to 1000000000 but got 0.001"),
    ("sweep methods=[lift_plac]", "methods must be among .* but got 'lift_plac'; did you mean lift_place?"),
    ("sweep methods=[mine]", "methods must be among .*; {method: mine, output: module:name} is one of your own"),
    ("sweep teachers=[mine]", "teachers must be among .* but got 'mine'; {folder: PATH} is one of your own"),
    ("sweep teachers=[{folder:none}]", "teachers.folder must be a diffusers directory but got none"),
    ("sweep data=folder data.size=8 dry_run=true", "data.path must be given; or data.shape for a dry run .* pooled"),
    ("sweep data=folder data.path=none dry_run=true", "data.path must be a folder of images but got none"),
    (
        "sweep data=latents data.name=a data.path=none",
        "data.path must be a folder that study.latents made but got none",
    ),
    (
        "sweep evaluation.extractor_weights=none",
        "evaluation.extractor_weights must be null or what is there but got none",
    ),
    ("sweep protocol=search search_space=none.yaml", "search_space none.yaml cannot be read: .* No such file .*"),
    ("sweep teachers=[unet_15]", "teachers must be among .* but got 'unet_15'; did you mean unet_16?"),
    ("sweep data=foldr", "data must be one of .* but got 'foldr'; did you mean folder?"),
    ("sweep data.path=/images", "data.path is a key of .*data=folder.*, none of which is chosen"),
    ("sweep evaluation.sampler=dimm", "evaluation.sampler must be one of .* but got 'dimm'; did you mean ddim?"),
    ("sweep seeds=0,1,2", "seeds takes one value but got 0,1,2: a list is 'seeds=[0,1,2]', a text with a comma .*"),
    ("sweep seeds=4-1", "seeds must be a list such as [0,1,2], or 0-2, or range(3), but got '4-1'"),
    ("sweep 'methods=[a (b)]'", "'methods=[a (b)]' is not an override .*: 'key=[\"a (text)\"]'"),
    ("sweep --dry-run", "--dry-run is not an option; .*; did you mean dry_run=true?"),
    ("sweep my_study.yaml", "my_study.yaml is not there; kd-study init my_study.yaml writes one"),
    ("sweep scale=tiny", "scale is for experiments: give +experiment=NAME too"),
    ("sweep +experiment=celeba_tabel6", "+experiment must be one of .*; did you mean celeba_table6?"),
    ("sweep loggers=[tensorbord]", "loggers must be one of .* but got 'tensorbord'; did you mean tensorboard?"),
    ("sweep study=my/study", "study must be a name of at most 64 letters, .* but got 'my/study'"),
    ("init", "kd-study init takes the name of the file to write, e.g. my_study.yaml, but got []"),
    ("status", "study_dir must be given: study_dir=<a study's directory>"),
    ("status study_dir=studies/none", "study_dir must be a study's directory but studies/none is not there"),
    ("report study_dir=x report.basline=a", "report.basline is not a key .*; did you mean report.baseline?"),
    ("cancel study=digits", "study is not a key of the config; allowed: study_dir; did you mean study_dir?"),
    ("bench stp", "benchmark must be one of .* but got 'stp'; did you mean step?"),
    ("bench device=mps loss", "device must be cpu or cuda but got 'mps': Apple's GPU has no float64, .*"),
]


@pytest.mark.parametrize(("typed", "said"), WRONG, ids=[typed for typed, _ in WRONG])
def test_it_is_one_helpful_line(
    typed: str, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name, *rest = shlex.split(typed)
    monkeypatch.setattr(sys, "argv", ["kd-study", name, *rest])
    monkeypatch.setattr("study.bench._become_like_a_worker", lambda _argv: None)
    with pytest.raises(SystemExit) as ended:
        kd_study.main()
    (line,) = capsys.readouterr().err.splitlines()
    assert ended.value.code == 2
    start, *parts = said.split(".*")
    assert line.startswith(f"error: {start}")
    assert all(part in line for part in parts)
    assert line.endswith(parts[-1] if parts else start)


def test_no_command_loads_torch_or_ray_before_it_has_looked_at_its_values() -> None:
    quick = [typed for typed, _ in WRONG if "device" not in typed]
    script = f"""
import contextlib, io, shlex, sys
from study import __main__ as kd_study
for typed in {quick!r}:
    sys.argv = ["kd-study", *shlex.split(typed)]
    with contextlib.suppress(SystemExit), contextlib.redirect_stderr(io.StringIO()):
        kd_study.main()
    print({{'torch', 'ray', 'diffusers', 'sklearn', 'matplotlib'}} & set(sys.modules), typed)
"""
    root = Path(study.__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [f"set() {typed}" for typed in quick]
