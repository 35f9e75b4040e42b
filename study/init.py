"""kd-study init FILE.yaml: writes a study of your own, to be edited and then run by kd-study sweep FILE.yaml.

kd-study init my_study.yaml
kd-study sweep my_study.yaml dry_run=true    what it would take
kd-study sweep my_study.yaml                 runs it
"""

from __future__ import annotations

import sys
from pathlib import Path

from study.config.command_line import entry_point
from study.config.overrides import FILE_ENDINGS
from study.config.study import require_name

_TEMPLATE = """\
# A study of your own. Every line is what key: value is on the command line as key=value, which wins over the file.
# kd-study sweep {path} dry_run=true says what it takes, kd-study sweep {path} runs what is missing of it, and
# kd-study sweep {path} --cfg prints all keys there are; lines behind a # are examples.

study: {name} # the name in reports; everything goes to studies/{name}

# Who is compared: diffusion_only, out_kd, feat_kd, out_feat_kd, dist, lift, lift_feat, lift_place, lift_place_feat, or
# one with settings of its own
methods:
  - diffusion_only
  - out_kd
  - lift_place
#  - {{method: lift_place, group_size: 4}}

# Who teaches: models that come with the package for the digits, ones that the study trains once, or your own
teachers: [digits_250k, digits_1360k]
# teachers: [unet_16, unet_64]
# teachers:
#  - {{name: mine, folder: /path/to/a/diffusers/model}}

# One student for each teacher, method and seed: a list, 0-9 or range(10). Five are few
seeds: 0-2

# The images: the 8x8 digits that come along, or a folder of your own
data: digits
# data: folder
# data.name: mine
# data.path: /path/to/images
# data.size: 32
# evaluation: inception # for images that are not digits; data=mnist and the digits have extractors of their own

# How long students and teachers train
train.steps: 500
# train.batch_size: 32
# train.lr: 0.02
# teacher_train.steps: 140

# What the report is asked, declared before the sweep
# report.primary: [lift_place, out_kd]

# Settings that every method takes unless it says otherwise
# method.group_size: 16

# Where it runs: here, or on a Ray cluster
# cluster.address: auto
# cluster.gpus_per_worker: 0.25
"""


def main(argv: list[str]) -> int:
    """Writes the file named in argv, which must not be there yet, and says what to do with it."""
    if len(argv) != 1 or not argv[0].endswith(FILE_ENDINGS):
        raise ValueError(f"kd-study init takes the name of the file to write, e.g. my_study.yaml, but got {argv}")
    path = Path(argv[0])
    require_name("the file's name", path.stem)
    if not path.parent.is_dir():
        raise ValueError(f"{path} cannot be written: there is no folder {path.parent}")
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(_TEMPLATE.format(path=path, name=path.stem))
    except FileExistsError:
        raise ValueError(f"{path} is there already and is left as it is; give another name") from None
    except OSError as error:
        raise ValueError(f"{path} cannot be written: {error.strerror}") from error
    print(f"written: {path}\nedit it, then: kd-study sweep {path} dry_run=true", file=sys.stdout)
    return 0


if __name__ == "__main__":
    entry_point(main)
