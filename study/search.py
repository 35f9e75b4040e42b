"""protocol=search: Optuna asks for members, several at a time; each trial of Tune trains them as one pack."""

import math
from pathlib import Path
from typing import Any

import optuna
import pyarrow.compute as pc
from optuna.distributions import BaseDistribution

from analysis.records import read_runs
from search_spaces import load_space
from study.cluster import Cluster
from study.config import SearchConfig, StudyConfig
from study.executor import Job, run_trials
from study.plan import Pack, make_member
from study.progress import bar
from trainables.data import image_shape
from trainables.losses.methods import make_method
from trainables.specs import Member

Rows = dict[str, dict[str, Any]]  # search rows by run_id


def run_search(config: StudyConfig, job: Job, cluster: Cluster) -> None:
    """Runs the search members that have no row yet; the rows there are told to Optuna first."""
    search = _search(config)
    source = MemberStudy(config)

    def describe(_steps: dict[str, int]) -> tuple[int, str]:
        return len(finished_rows(config)), f"{search.method} on {search.teacher}"

    with bar(job.board, describe, total=search.num_members, unit="member"):
        run_trials(job, source, cluster, num_trials=source.num_packs)


def search_is_finished(config: StudyConfig) -> bool:
    return len(finished_rows(config)) >= _search(config).num_members


def finished_rows(config: StudyConfig) -> Rows:
    """Rows of this very search: the same study but for the settings that Optuna chooses."""
    runs = read_runs(config.study_dir)
    rows = runs.filter(pc.equal(runs.column("phase"), "search")).to_pylist()
    space, search = load_space(_search(config).space), _search(config)
    found = {}
    for row in rows:
        settings = {key: row[key] for key in space}
        is_ours = row["method"] == search.method and all(_holds(space[key], value) for key, value in settings.items())
        if is_ours and search_member(config, settings).run_id == row["run_id"]:
            found[row["run_id"]] = row
    return found


def search_member(config: StudyConfig, settings: dict[str, Any]) -> Member:
    """The member that trains with the suggested settings over the recipe's."""
    search = _search(config)
    channels_height_width = image_shape(config.data)
    num_elements = channels_height_width[1] * channels_height_width[2]
    method = make_method(search.method, {**config.recipe, **settings}, num_elements=num_elements)
    teacher = next(teacher for teacher in config.teachers if teacher.name == search.teacher)
    return make_member(config, teacher if method.needs_teacher else None, method, search.seed)


class MemberStudy:
    """An Optuna study whose trials are members, several to a pack: minimises the FID of one member."""

    def __init__(self, config: StudyConfig) -> None:
        search = _search(config)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._config, self._space = config, load_space(search.space)
        sampler = optuna.samplers.TPESampler(seed=search.sampler_seed, constant_liar=True)
        self._study = optuna.create_study(direction="minimize", sampler=sampler)
        self._asked: dict[str, optuna.Trial] = {}
        self._known: set[str] = set()
        for run_id, row in sorted(finished_rows(config).items(), key=lambda item: item[1]["finished_at"]):
            params = {key: row[key] for key in self._space}
            trial = optuna.trial.create_trial(params=params, distributions=self._space, value=_value(row["fid"]))
            self._study.add_trial(trial)
            self._known.add(run_id)
        self._left, self._pack_size = search.num_members - len(self._known), search.members_per_trial

    @property
    def num_packs(self) -> int:
        """How many packs the rest of the budget makes."""
        return -(-self._left // self._pack_size)

    def next_pack(self) -> Pack | None:
        size = min(self._left, self._pack_size)
        self._left -= size
        return Pack(tuple(self._ask() for _ in range(size))) if size else None

    def ended(self, pack: Pack) -> None:
        """Reads the rows of a finished pack and tells their FIDs; a member without a row has failed."""
        fids = _fids(self._config.study_dir)
        for member in pack.members:
            trial = self._asked.pop(member.run_id)
            if member.run_id in fids:
                self._study.tell(trial, _value(fids[member.run_id]))
            else:
                self._study.tell(trial, state=optuna.trial.TrialState.FAIL)

    def _ask(self) -> Member:
        """A member that was not asked for before. Raises ValueError when the space seems to hold no other."""
        for _ in range(1000):
            trial = self._study.ask(self._space)
            member = search_member(self._config, trial.params)
            if member.run_id not in self._known:
                self._known.add(member.run_id)
                self._asked[member.run_id] = trial
                return member
            self._study.tell(trial, state=optuna.trial.TrialState.FAIL)
        raise ValueError(
            f"protocol.num_members must be at most what search_space holds; {len(self._known)} members are all"
        )


def _fids(study_dir: Path) -> dict[str, float | None]:
    runs = read_runs(study_dir)
    return dict(zip(runs.column("run_id").to_pylist(), runs.column("fid").to_pylist(), strict=True))


def _value(fid: float | None) -> float:
    """What Optuna minimises: the FID; a diverged member is worse than any other."""
    return math.inf if fid is None or math.isnan(fid) else fid


def _holds(distribution: BaseDistribution, value: Any) -> bool:
    return value is not None and distribution._contains(distribution.to_internal_repr(value))


def _search(config: StudyConfig) -> SearchConfig:
    assert config.search is not None
    return config.search
