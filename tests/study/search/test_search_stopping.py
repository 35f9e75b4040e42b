"""Early stopping belongs to the search alone, and replays."""

from pathlib import Path

import pytest
from tuned_study import finish, outcome, tuned_config

from study.config.tuning import EarlyStopping
from study.directory.layout import folders
from study.execution.record_sink import RecordSink
from study.planning.members import plan_members as grid_members
from study.search.confirm import confirm_phases
from study.search.outcomes import Outcome
from study.search.rounds import make_rungs, make_searches
from trainables.training.pack import MemberResult

MEDIAN = "protocol.early_stopping={rule:median,steps:[50,100],num_images:64,keep:0.34}"
ASHA = "protocol.early_stopping={rule:asha,steps:[50,100],num_images:64,keep:0.34}"


def test_thresholds() -> None:
    median = EarlyStopping(rule="median", steps=(10, 20), num_images=64, keep=0.34)
    asha = EarlyStopping(rule="asha", steps=(10, 20), num_images=64, keep=0.34)
    earlier = [{10: 1.0, 20: 5.0}, {10: 2.0, 20: 4.0}, {10: 3.0}, {10: 9.0}]
    assert [rung.threshold for rung in make_rungs(median, earlier)] == [2.5, None]
    assert [rung.threshold for rung in make_rungs(asha, earlier)] == [2.0, 5.0]  # the best ceil(0.34 * 4) = 2
    assert [rung.threshold for rung in make_rungs(median, [])] == [None, None]
    assert [rung.step for rung in make_rungs(asha, [])] == [10, 20]


@pytest.mark.parametrize("rule", [MEDIAN, ASHA])
def test_the_search_stops_members_and_replays(tmp_path: Path, rule: str) -> None:
    config = tuned_config(tmp_path, rule, "protocol.num_trials=8")
    (search,) = make_searches(config)
    outcomes: dict[str, Outcome] = {}
    asked = finish(search, outcomes)
    assert len(asked) == 3 * 8 * 2  # a stopped member is a member: the budget is the same for every method
    first = [member for member in asked if all(rung.threshold is None for rung in member.rungs)]
    assert len(first) >= 3 * 2 * 2
    stopped = [member for member in asked if outcomes[member.run_id].steps < member.train.steps]
    assert 0 < len(stopped) < len(asked) - len(first)
    assert {outcomes[member.run_id].steps for member in stopped} <= {50, 100}
    for arm in search.searches:
        assert not arm.best().stopped
    (again,) = make_searches(config)
    assert again.advance(outcomes) == []
    assert [a.finished for a in again.searches] == [a.finished for a in search.searches]


@pytest.mark.parametrize("rule", [MEDIAN, ASHA])
def test_no_confirm_or_grid_member_can_be_stopped(tmp_path: Path, rule: str) -> None:
    config = tuned_config(tmp_path, rule, "protocol.teachers=[unet_16,unet_64]")
    for search in make_searches(config):
        asked = finish(search, {})
        assert all(len(member.rungs) == 2 for member in asked)
        confirmed = confirm_phases(config, search, 5)
        assert {phase for _, phase in confirmed} == {"confirm", "grid"}
        assert all(member.rungs == () for member, _ in confirmed)
    assert all(member.rungs == () for member in grid_members(config))


@pytest.mark.parametrize("phase", ["grid", "confirm"])
def test_a_row_of_another_phase_than_search_is_refused_for_a_member_with_rungs(tmp_path: Path, phase: str) -> None:
    """The last line, should a plan ever be wrong: nothing is written."""
    (search,) = make_searches(tuned_config(tmp_path, MEDIAN))
    member = search.advance({})[0]
    sink = RecordSink(
        study_dir=tmp_path, study="s", phase="search", phases={member.run_id: phase},
        folders=folders(tmp_path),
    )  # fmt: skip
    from trainables.models.saved import TrainedStudent

    trained = TrainedStudent(member.train_id, None, None, [], 1.0, 3)
    result = MemberResult(member, trained, None, 0.0, 1.0, 1, "cpu")
    with pytest.raises(ValueError, match=f"may be stopped early, so it can be no member of phase {phase}"):
        sink(result)
    assert not (tmp_path / "records").exists()


def test_without_a_rule_nothing_is_measured_on_the_way(tmp_path: Path) -> None:
    (search,) = make_searches(tuned_config(tmp_path))
    assert all(member.rungs == () for member in finish(search, {}))
    assert outcome(search.searches[0].finished[0].members[0]).rung_fids == {}
