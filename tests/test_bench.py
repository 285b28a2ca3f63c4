"""The benchmark: its rows and goals, its rivals, and its own arithmetic, at a very small size."""

import json
import re
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from crews import Beside

from dapa.bench import (
    app_rows,
    chat_rows,
    count_rows,
    divergence_rows,
    gpu_rows,
    machine,
    memory_rows,
    search_rows,
    thread_rows,
    timing,
    toggle_rows,
    worker_rows,
)
from dapa.bench.command import main
from dapa.bench.limit import Load, seconds
from dapa.bench.live import peak_bytes
from dapa.bench.rivals import Copied, generated, hidden_state_map, padded
from dapa.bench.row import BenchRow, absent, alone, faster, higher, judged, share, table, wrong
from dapa.bench.scene import MICRO, QUICK, Scene, count_tests, ordinary, own_gates, requests
from dapa.bench.suite import run
from dapa.bench.timing import interleaved
from dapa.core.records import EMPTY, Mask, Unit
from dapa.model.decode.generation import Row as Reply
from dapa.model.decode.generation import complete
from dapa.model.decode.sampling import Decoding
from dapa.search.algorithms import algorithms
from dapa.search.engine.workers.crew import Crew
from dapa.search.engine.workers.messages import Hire

KEYS = {"id", "what", "unit", "ours", "rival", "rival_value", "ratio", "goal", "passed"}
MACHINE = {"flops_per_second": 1e11, "bytes_per_second": 1e10}


@pytest.fixture(scope="module")
def scene():
    return Scene(MICRO, rounds=1)


@pytest.fixture
def once(monkeypatch):
    """Each side runs once: what is tested is not the time."""
    monkeypatch.setattr(timing, "ROUNDS", 1)
    monkeypatch.setattr(machine, "flops", lambda *_: 1e11)
    monkeypatch.setattr(machine, "bandwidth", lambda *_: 1e10)
    monkeypatch.setattr(search_rows, "LONG", 32)


def test_a_row_is_judged_by_its_goal_alone():
    assert judged(4.0, ">= 4") is True and judged(3.99, ">= 4") is False
    assert judged(0.35, "<= 0.35") is True and judged(0.36, "<= 0.35") is False
    assert judged(2e4, ">= 1e4") is True
    assert judged(None, ">= 4") is None and judged(1.0, None) is None
    with pytest.raises(AssertionError, match="is no goal"):
        judged(1.0, "> 4")


def test_each_kind_of_row_says_how_many_times_better_or_which_share():
    assert faster("x", "", 2.0, "r", 8.0, ">= 4").ratio == 4.0
    assert higher("x", "", 8.0, "r", 2.0, ">= 4", "1/s").ratio == 4.0
    assert share("x", "", 2.0, "r", 8.0, "<= 0.25", "bytes").passed is True
    assert alone("x", "", 7.0, "<= 8", "s").passed is True
    nothing = absent("x", "a thing", "s", "r", ">= 4", "it is not installed")
    assert nothing.passed is None and "it is not installed" in nothing.what
    assert wrong("x", "a thing", "s", "r", ">= 4", "they differ").passed is False


def test_the_json_has_exactly_the_agreed_keys_and_every_group_of_rows(once, monkeypatch):
    monkeypatch.setattr(count_rows, "TRIALS", 2)
    report = run(MICRO, "ef").as_dict()
    assert set(report) == {"machine", "rows"}
    assert all(set(row) == KEYS for row in report["rows"])
    assert {field.name for field in fields(BenchRow)} == KEYS
    assert json.loads(json.dumps(report)) == report
    assert {"cpu", "torch", "flops_per_second", "bytes_per_second"} <= set(report["machine"])


def test_one_row_per_goal_and_no_name_twice(scene, monkeypatch):
    monkeypatch.setattr(count_rows, "TRIALS", 2)
    names = [row.id for row in memory_rows.rows(scene)]
    names += [row.id for row in count_rows.rows()]
    assert {"e1", "e2", "f1", "f2", "f3"} <= set(names) and len(names) == len(set(names))


def test_a_pair_after_a_toy_is_compared_with_itself_on_every_thread(scene, once, monkeypatch):
    threads = torch.get_num_threads()
    monkeypatch.setattr(thread_rows, "cores", lambda: 2)
    monkeypatch.setattr("dapa.model.machine.LARGE", 0)
    seen = []
    small = replace(thread_rows.SHAPE, hidden=192, neurons=32, heads=3, kv_heads=3)
    (row,) = thread_rows.rows(scene, small, lambda: seen.append(torch.get_num_threads()))
    assert row.id == "t1" and row.ratio > 0 and "2 threads" in row.what
    assert seen == [2, 2] and torch.get_num_threads() == threads
    monkeypatch.setattr(thread_rows, "cores", lambda: 1)
    (row,) = thread_rows.rows(scene)
    assert row.passed is None and "one core" in row.what


def test_the_worker_rows_compare_the_replies_of_two_workers_with_one_process(
    scene, once, monkeypatch
):
    def crew_of(pair, workers):
        return Crew(lambda n, hire: Beside(pair), Hire(pair.spec), pair.digest, workers)

    monkeypatch.setattr(worker_rows, "cores", lambda: 2)
    monkeypatch.setattr(worker_rows, "crew_of", crew_of)
    monkeypatch.setattr(worker_rows.psutil, "Process", lambda *_: Timed())
    found = {row.id: row for row in worker_rows.rows(scene)}
    assert list(found) == ["w1", "w2", "w3"] and "2 workers" in found["w1"].what
    assert found["w1"].ratio > 0 and found["w2"].ratio > 0
    monkeypatch.setattr(worker_rows, "cores", lambda: 1)
    (row,) = worker_rows.rows(scene)
    assert row.passed is None and "one core" in row.what


class Timed:
    """A process whose clock goes on with each look."""

    seconds = 0.0

    def cpu_times(self):
        Timed.seconds += 0.5
        return SimpleNamespace(user=Timed.seconds, system=0.0)


def test_without_a_gpu_every_gpu_row_is_null_with_the_reason(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    found = list(gpu_rows.rows())
    assert {"h", "h@llama-3-8b", "b2@llama-2-7b"} <= {row.id for row in found}
    assert all(row.passed is None and "CUDA is absent" in row.what for row in found)
    assert len(found) == 2 * len(gpu_rows.GOALS)


BARE = """
import re, sys
from dataclasses import replace
from importlib import metadata

def plain(name):
    return re.sub(r"[-_.]+", "-", name).lower()

there, left = set(), sys.argv[1].split()
while left:  # with what these packages bring along
    name = plain(left.pop())
    if name in there:
        continue
    try:
        needs = metadata.requires(name) or ()
    except metadata.PackageNotFoundError:
        continue
    there.add(name)
    left += [re.match(r"[\\w.-]+", one)[0] for one in needs if "extra ==" not in one]
for module, owners in metadata.packages_distributions().items():
    if module != "dapa" and not there & set(map(plain, owners)):
        sys.modules[module] = None  # an import of it fails

import torch
from dapa.bench import gpu_rows, timing
from dapa.bench.command import main
from dapa.bench.scene import MICRO

torch.cuda.is_available = lambda: False
assert main(["--gpu", "--json", sys.argv[2]]) == 0
timing.ROUNDS = 1
size = replace(MICRO, shape=replace(MICRO.shape, dtype=torch.bfloat16), vocabulary=300)
print(sum(row.ours is not None for row in gpu_rows.rows([size])), sorted(
    name for name in ("gradio", "plotly", "peft", "gguf", "pytest") if sys.modules.get(name)))
"""


@pytest.mark.slow
def test_the_gpu_benchmark_needs_one_call_and_what_a_bare_gpu_machine_has(tmp_path):
    needs = "torch transformers accelerate safetensors numpy pandas scipy"
    ran = subprocess.run(
        [sys.executable, "-c", BARE, needs, str(tmp_path / "rows.json")],
        capture_output=True,
        text=True,
        timeout=600,
        cwd=Path(__file__).parent.parent,
    )
    assert ran.returncode == 0, ran.stderr
    count, _, others = ran.stdout.strip().splitlines()[-1].partition(" ")
    assert int(count) > len(gpu_rows.GOALS) and others == "[]"
    assert len(json.loads((tmp_path / "rows.json").read_text())["rows"]) == 2 * len(gpu_rows.GOALS)


def test_where_the_dashboard_cannot_be_driven_its_rows_say_why(monkeypatch):
    monkeypatch.setattr(app_rows, "missing", lambda: "gradio is not installed")
    found = list(app_rows.rows())
    assert [row.id for row in found] == ["g", "g-toggle", "g-token"]
    assert all(row.passed is None and "gradio is not installed" in row.what for row in found)


def test_the_gpu_rows_run_through_the_same_functions_on_a_small_pair_on_a_cpu(once):
    size = replace(MICRO, shape=replace(MICRO.shape, dtype=torch.bfloat16), vocabulary=300)
    machines = []
    found = {row.id: row for row in gpu_rows.rows([size], machines.append)}
    assert {f"{name}@micro" for name in gpu_rows.GOALS} <= set(found)
    assert "WRONG" not in " ".join(row.what for row in found.values())
    assert found["h@micro"].ours == found["b2@micro"].ours
    assert machines[0]["dtype"] == "bfloat16"
    assert "spread refusal" in found["h-spread@micro"].what and found["h-spread@micro"].ours > 0
    assert "concentrated, 2 gates found" in found["h-confidence@micro"].what
    assert found["minutes@micro"].goal == "<= 8"


def test_search_rows_measure_and_agree_with_the_rival(scene, once):
    found = {row.id: row for row in search_rows.rows(scene, MACHINE)}
    assert set(found) == {"b1", "b2", "b3", "b4"}
    assert all(row.ratio and "WRONG" not in row.what for row in found.values())
    assert found["b2"].rival_value < found["b3"].rival_value
    assert "flop" in found["b4"].what and "BW" in found["b4"].what


def test_a_search_that_finds_something_else_counts_for_nothing(scene, once, monkeypatch):
    other = Mask.of([Unit(0)]).units
    real = search_rows.search

    def elsewhere(*args, **settings):
        ran = real(*args, **settings)
        return replace(ran, report=replace(ran.report, units=other))

    monkeypatch.setattr(search_rows, "search", elsewhere)
    found = {row.id: row for row in search_rows.rows(scene, MACHINE)}
    assert found["b2"].passed is False and "WRONG" in found["b2"].what
    assert "b4" not in found


def test_maps_of_ours_and_the_loop_agree_and_hold_fewer_bytes(scene, once):
    found = {row.id: row for row in divergence_rows.rows(scene)}
    assert {"a1", "a2", "a3", "a1-limit", "a1-nnsight", "a2-transformer-lens"} <= set(found)
    assert 0 < found["a1-limit"].rival_value < found["a1-limit"].ours
    assert not any("WRONG" in row.what for row in found.values())
    assert found["a3"].ours < found["a3"].rival_value


def test_panes_and_toggles_agree_with_the_rivals(scene, once):
    found = [*chat_rows.rows(scene), *toggle_rows.rows(scene, loads=1)]
    assert [row.id for row in found] == ["d1", "d2", "c1", "c2"]
    assert not any("WRONG" in row.what for row in found)


def test_the_planted_pair_refuses_in_24_tokens_and_complies_to_the_limit(scene):
    full = Mask.of(scene.pair.units("gate"))
    limit = 60
    rows = complete(
        scene.pair, [Reply(ids, m) for m in (EMPTY, full) for ids in scene.ids], Decoding(limit)
    )
    comply, refuse = rows[: len(scene.ids)], rows[len(scene.ids) :]
    assert {len(row.new_ids) for row in refuse} == {24} and {r.ending for r in refuse} == {"end"}
    assert {(len(row.new_ids), row.ending) for row in comply} == {(limit, "length")}


def test_the_rivals_weights_are_really_copied(scene):
    student, teacher = scene.rivals
    copied = Copied(own_gates(student), teacher, scene.pair.family)
    ids, attention = padded(scene.ids, torch.device("cpu"))
    plain = student(input_ids=ids, attention_mask=attention).logits
    copied.transplant(set(scene.planting.needed))
    moved = copied.model(input_ids=ids, attention_mask=attention).logits
    assert not torch.equal(plain, moved)
    assert torch.equal(plain, student(input_ids=ids, attention_mask=attention).logits)
    made = generated(copied.model, scene.tokenizer, scene.ids, 30, 4)
    assert all(scene.tokenizer.decode(row).startswith("I'm sorry") for row in made)
    copied.transplant(set())
    assert torch.equal(plain, copied.model(input_ids=ids, attention_mask=attention).logits)


def test_a_loop_over_two_equal_models_measures_nothing(scene):
    student, _ = scene.rivals
    assert hidden_state_map(student, student, scene.ids, 4).abs().max() < 1e-5


def test_three_tests_stand_for_all_tests_of_the_rival(scene):
    every = search_rows.asked(scene, "ddmin", memo=True)
    chosen, weights = search_rows.three(scene, every)
    assert sum(weights) == len(every)
    assert [scene.planting.refuses(layers) for layers in chosen] == [True, False, False]
    units = scene.pair.units("gate")
    known = count_tests(algorithms["ddmin"](), units, frozenset(scene.planting.units), True)
    assert len(every) == known + 2  # and the two opening checks


def test_the_physical_limit_is_the_larger_of_computing_and_reading():
    load = Load(
        judged=100, prompt=10, reused=0.5, new=5, rounds=4, longest=5, flop=1e6, context=20,
        kv=1e3, weights=1e6, sites=1e5,
    )  # fmt: skip
    assert seconds(load, 1e9, 1e12) == pytest.approx(100 * (0.5 * 10 + 5) * 1e6 / 1e9, rel=1e-3)
    assert seconds(load, 1e15, 1e6) == pytest.approx(
        max(100 * 5 * 20 * 1e3 / 1e6, 4 * 5 * 1.1e6 / 1e6), rel=1e-3
    )


def test_living_bytes_are_counted_while_somebody_holds_them():
    weight = torch.zeros(1000)

    def one_after_another():
        for _ in range(5):
            _ = weight + 1

    def all_at_once():
        return [weight + 1 for _ in range(5)]

    assert peak_bytes(one_after_another, [weight]) <= 2 * weight.nbytes
    assert peak_bytes(all_at_once, [weight]) == 5 * weight.nbytes
    assert peak_bytes(lambda: weight[3:], [weight]) == 0  # a view of what is known


def test_sides_run_in_turns_and_at_least_five_times():
    log = []
    interleaved(lambda: log.append("a"), lambda: log.append("b"))
    assert "".join(log) == "ab" * 6  # one round to warm up
    with pytest.raises(AssertionError, match="too few"):
        interleaved(lambda: None, rounds=4)


def test_the_quick_planting_is_an_ordinary_one_for_the_rival():
    planting = ordinary(QUICK.layers, QUICK.needed)
    assert planting == ordinary(QUICK.layers, QUICK.needed) and len(planting.needed) == 3


def test_requests_have_the_lengths_that_were_asked_for():
    lengths = [len(text.split()) for text in requests(9, (12, 24))]
    assert min(lengths) == 12 and max(lengths) == 24


def test_the_table_shows_every_row_and_what_was_run():
    rows = [faster("b2", "a whole search", 2.0, "ddmin", 9.0, ">= 4"),
            absent("h", "a 7B pair", "s", None, "<= 8", "no GPU")]  # fmt: skip
    text = table(rows)
    assert re.search(r"^b2 +2 +9 +s +4\.5 +>= 4 +yes +ddmin$", text, re.M)
    assert "a 7B pair; not measured: no GPU" in text


def test_the_command_writes_json_and_refuses_rows_that_do_not_exist(once, capsys, monkeypatch):
    from dapa.bench import scene

    monkeypatch.setattr(scene, "QUICK", MICRO)
    monkeypatch.setattr(count_rows, "TRIALS", 2)
    assert main(["--quick", "--only", "e", "--json", "-"]) == 0
    body = json.loads(capsys.readouterr().out)
    assert [row["id"] for row in body["rows"]] == ["e1", "e2"]
    assert main(["--only", "ez"]) == 2
    assert "no rows z" in capsys.readouterr().err
