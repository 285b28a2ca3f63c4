"""The benchmark's rows on a real pair, through the same functions on a small planted one."""

import pytest

from dapa.bench import real_rows, real_search, timing
from dapa.bench.command import main
from dapa.bench.hook_views import plain_views
from dapa.bench.real_scene import RealScene
from dapa.bench.scene import MICRO, SCRIPT, own_gates
from dapa.core.records import Prompt, Unit
from dapa.planted.pairs import Planting, harmful_prompts, harmless_prompts, plant
from dapa.prompts.sets import PromptSet
from dapa.search.settings import SearchSettings

MACHINE = {"flops_per_second": 1e11, "bytes_per_second": 1e10}
NEEDED = (1, 4)


@pytest.fixture(scope="module")
def scene():
    models = plant(Planting(6, NEEDED), shape=MICRO.shape, script=SCRIPT)
    plain = own_gates(models.student), own_gates(models.teacher)
    both = zip(harmful_prompts(24), harmless_prompts(24), strict=True)
    prompts = tuple(Prompt(text, twin=twin) for text, twin in both)
    made = RealScene("smollm2", "exact", settings=SearchSettings(max_new_tokens=24))
    made.__dict__.update(
        pair=models.pair("bench-real"), plain=plain, harmful=PromptSet("set", "harmful", prompts)
    )
    return made


@pytest.fixture(autouse=True)
def once(monkeypatch):
    monkeypatch.setattr(timing, "ROUNDS", 1)


def test_a_whole_search_is_set_beside_ddmin_its_limit_and_its_bytes(scene):
    found = {row.id: row for row in real_rows.of(scene, MACHINE, ("r1", "r2", "r5"))}
    assert set(found) == {"r1", "r1-time", "r2", "r5"}
    assert {unit.layer for unit in scene.searched.report.units} == set(NEEDED)
    assert found["r1"].ratio > 0 and "0 of 36 of their verdicts differ" in found["r1"].what
    assert found["r2"].ours > found["r2"].rival_value > 0
    assert found["r5"].ours is None or found["r5"].ours > scene.pair.weight_bytes


def test_a_search_that_finds_nothing_gives_null_rows_with_the_reason(scene):
    few = PromptSet("few", "harmful", scene.harmful.prompts[:6])
    less = RealScene.given(scene.pair, few, "exact", "mlp", 24)
    found = list(real_rows.of(less, MACHINE, ("r1", "r2", "r5")))
    assert [row.id for row in found] == ["r1", "r2", "r5"]
    assert all(row.passed is None and "nothing to localize" in row.what for row in found)


def test_a_rival_that_says_something_else_counts_for_nothing(scene, monkeypatch):
    monkeypatch.setattr(real_search, "generated", lambda *args: [[0]] * len(args[2]))
    row = real_search.whole_search(scene)
    assert row.passed is False and "WRONG" in row.what


def test_ddmin_makes_the_tests_that_a_set_takes(scene):
    tests = scene.ddmin(frozenset({Unit(1, "mlp"), Unit(4, "mlp")}))
    assert tests[:2] == [frozenset(), frozenset(range(6))] and frozenset(NEEDED) in tests
    chosen, weights = real_search.three(tests, frozenset(NEEDED))
    assert sum(weights) == len(tests)
    assert [frozenset(NEEDED) <= test for test in chosen] == [True, False, False]


def test_panes_and_three_calls_say_the_same(scene):
    row = real_rows.chat(scene, tokens=12)
    assert row.ratio > 0 and "3 of 3 replies" in row.what


def test_plain_hooks_find_what_the_summary_finds(scene):
    row = real_rows.summary_row(scene, 6)
    assert "WRONG" not in row.what and row.ratio > 0, row.what
    found = plain_views(scene, scene.harmful.prompts[:6])
    assert set(found.values) == {"single", "left_out", "patching", "trace", "gradient"}
    ours = real_rows.ours_of(scene, scene.harmful.prompts[:6])
    for name, values in found.values.items():
        for layer, value in values.items():
            assert value == pytest.approx(float(ours.columns[name].values[layer]), abs=0.02)


def test_without_the_base_every_row_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setenv("DAPA_CACHE", str(tmp_path))
    found = list(real_rows.rows())
    assert {row.id for row in found} >= {f"r{i}@smollm2" for i in range(1, 7)}
    assert all(row.passed is None for row in found)
    assert "python -m dapa get smollm2" in found[0].what


def test_the_command_takes_a_claim_and_the_digits_of_rows(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DAPA_CACHE", str(tmp_path))
    assert main(["--real", "quick", "--only", "36"]) == 0
    assert "r3@smollm2" in capsys.readouterr().out
    assert main(["--real", "sometimes"]) == 2
    assert "sometimes" in capsys.readouterr().err
