"""The dose curve: nothing at 0, the found set's truth at 1, a sham that stays flat."""

import json
from threading import Event

import pytest
from searched import AND, searched

from dapa.cli import main
from dapa.core.records import EMPTY, Mask, PromptError, SettingError, Unit
from dapa.measure.dose import STRENGTHS, Dose, dose, scaled

FOUND = Mask.of(AND.units)


@pytest.fixture(scope="module")
def curve():
    job = searched()
    return dose(job.pair, job.held_out, FOUND, job.store, max_new_tokens=12)


def test_dsr_rises_with_strength_and_the_sham_brings_nothing(curve):
    found = [point.dsr.value for point in curve.curve("found")]
    assert [p.strength for p in curve.curve("found")] == list(STRENGTHS)
    assert found[0] == 0.0 and found[-1] == 1.0 and found == sorted(found)
    assert 0.0 < curve.half <= 1.0 and curve.complete
    assert all(p.dsr.value == 0.0 and p.p_value == 1.0 for p in curve.curve("sham"))
    assert curve.curve("found")[-1].p_value < 0.01
    json.dumps(curve.as_dict(), allow_nan=False)


def test_the_same_again_is_answered_from_memory(curve, monkeypatch):
    job = searched()

    def never(*_):
        raise AssertionError("nothing is decoded twice")

    monkeypatch.setattr("dapa.search.engine.pair_runner.Batch", never)
    assert dose(job.pair, job.held_out, FOUND, job.store, max_new_tokens=12) == curve


def test_stopping_keeps_the_points_so_far():
    job, stop = searched(), Event()

    def told(what, share):
        if share > 0.2:
            stop.set()

    part = dose(job.pair, job.held_out, FOUND, job.store, max_new_tokens=11, progress=told,
                stop=stop)  # fmt: skip
    assert not part.complete and 0 < len(part.points) < 2 * len(STRENGTHS)
    assert Dose(FOUND, (), False).half is None


def test_what_has_no_dose_is_told():
    job = searched()
    with pytest.raises(SettingError, match="empty mask"):
        dose(job.pair, job.held_out, EMPTY, job.store)
    with pytest.raises(SettingError, match="1.5"):
        dose(job.pair, job.held_out, FOUND, job.store, strengths=[1.5])
    with pytest.raises(PromptError, match="needs harmful prompts"):
        dose(job.pair, (), FOUND, job.store)
    with pytest.raises(SettingError, match="donor"):
        dose(job.pair, job.held_out, FOUND, job.store, sham="donor", strengths=[1.0])
    half = Mask(((Unit(1), 0.5),))
    assert scaled(half, 0.5).strength(Unit(1)) == 0.25 and scaled(half, 0.0) == EMPTY


def test_the_command_doses_given_layers_or_what_a_search_finds(
    capfd, tmp_path, monkeypatch, planted_folders
):
    from dapa.planted.pairs import harmful_prompts

    monkeypatch.chdir(tmp_path)
    (tmp_path / "h.txt").write_text("\n".join(harmful_prompts(24)), encoding="utf-8")
    student, teacher = map(str, planted_folders)
    options = ["--student", student, "--teacher", teacher, "--dtype", "float32"]
    options += ["--prompts", "h.txt", "--max-new-tokens", "12", "--strengths", "0,1"]
    for more in (["--layers", "1,2"], []):
        with pytest.raises(SystemExit) as ended:
            main(["dose", *options, *more, "--json", "-"])
        body = json.loads(capfd.readouterr().out)
        assert ended.value.code == 0 and body["layers"] == [1, 2]
        dsr = {(p["curve"], p["strength"]): p["dsr"]["value"] for p in body["points"]}
        assert dsr == {("found", 0.0): 0.0, ("found", 1.0): 1.0, ("sham", 0.0): 0.0,
                       ("sham", 1.0): 0.0}  # fmt: skip
    with pytest.raises(SystemExit) as ended:
        main(["dose", *options[:-1], "a,b"])
    assert ended.value.code == 2 and "no numbers" in capfd.readouterr().err


def test_a_given_set_is_dosed_on_the_prompts_that_its_search_left_out(tmp_path):
    """The planted file brings its split; without one, only the run tells what chose the set."""
    from dataclasses import replace

    from searched import planted_pair, prompt_set

    from dapa.core.measurement import Call
    from dapa.prompts.sets import PromptSet
    from dapa.search.settings import SearchSettings
    from dapa.workbench import Workbench
    from dapa.workbench.measurements import measurements
    from dapa.workbench.measurements.dose import DoseSettings

    bench = Workbench(tmp_path, planted_pair(AND))
    plain = PromptSet("p", "harmful", tuple(replace(p, split="") for p in prompt_set().prompts))
    bench.prompts = lambda *_: plain
    settings = SearchSettings(max_new_tokens=12, seed=2)
    job = bench.search_job(settings)
    job.run()
    dosing = DoseSettings(strengths="0,1")
    call = Call(bench, dosing, mask=job.report.mask, search=settings, run=job.id)
    asked = {}
    for name, run in (("run", job.id), ("none", "")):
        record = measurements["dose"].run(replace(call, run=run)).record
        asked[name] = (record.where, record.found.points[0].dsr.n)
        told = measurements["dose"].describe(record).notes[0]
        assert ("may have chosen" in told) is (name == "none")
    assert asked == {"run": ("held-out", len(job.held_out)), "none": ("all", 24)}
