"""A found set as a recipe, an adapter, a page, a bundle; and what is pushed."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import confided
import huggingface_hub.errors as errors
import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from searched import searched
from support import random_model
from test_share_model import GATES, IDS, logits_of, saved, two
from transformers import AutoModelForCausalLM

from dapa.core.records import OUTSIDE, Mask, SettingError, StoreError, Unit
from dapa.measure.run_evaluation import KIND
from dapa.model.spec import PairSpec
from dapa.planted.pairs import harmful_prompts
from dapa.search.settings import SearchSettings
from dapa.share.adapter import MOST_LEFT, cut, export_lora, left_at_best, no_lora
from dapa.share.bundle import read_bundle
from dapa.share.card import card, eval_entries, told_of
from dapa.share.evidence import Evidence, evidence_of
from dapa.share.inspectlogs import export_inspect
from dapa.share.model import export_model, made_at
from dapa.share.push import push
from dapa.share.recipe import FILE, export_recipe
from dapa.share.report import HIDDEN, evidence_of_run, export_report, report_page
from dapa.share.settings import ExportSettings
from dapa.store.runs import Store
from dapa.workbench import Workbench
from dapa.writing.certified import form_title

# -- mergekit ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    return saved(tmp_path_factory.mktemp("pair"), *two(intermediate_size=24))


def test_mergekit_gives_the_tensors_of_the_exported_model(pair, tmp_path):
    mask = Mask.of([Unit(0, "gate"), Unit(1, "attention"), Unit(2, "norms")])
    export_model(pair, Evidence(mask), tmp_path / "model")
    made = export_recipe(pair, Evidence(mask), tmp_path / "recipe")
    tool = Path(sys.executable).parent / "mergekit-yaml"
    asked = [str(tool), str(tmp_path / "recipe" / FILE), str(tmp_path / "merged"), "--allow-crimes"]
    ran = subprocess.run(asked, capture_output=True, text=True, timeout=600)
    assert ran.returncode == 0, ran.stderr[-2000:]
    ours = load_file(tmp_path / "model" / "model.safetensors")
    merged = {
        k: v for p in (tmp_path / "merged").glob("*.safetensors") for k, v in load_file(p).items()
    }
    assert merged.keys() == ours.keys() and made.tensors > 4
    assert all(torch.equal(ours[name], merged[name]) for name in ours)
    assert not any(tensor.isnan().any() for tensor in merged.values())


def test_a_recipe_says_why_it_cannot_move_a_part_of_a_tensor(pair, tmp_path):
    with pytest.raises(SettingError, match="is moved in part"):
        export_recipe(pair, Evidence(Mask.of([Unit(0, "gate", (0, 4))])), tmp_path / "a")
    fused = saved(tmp_path, *two("phi3"))
    with pytest.raises(SettingError, match="only a part of"):
        export_recipe(fused, Evidence(Mask.of([Unit(0, "gate")])), tmp_path / "b")
    export_recipe(fused, Evidence(Mask.of([Unit(0, "gate"), Unit(0, "up")])), tmp_path / "c")


# -- LoRA ----------------------------------------------------------------------------------------


def low_rank_pair(folder, model_type="llama", rank=3):
    """A teacher whose matrices differ from the student's by products of a low rank."""
    from copy import deepcopy

    student = random_model(model_type, 1)
    teacher = deepcopy(student)
    torch.manual_seed(5)
    for name, weight in teacher.named_parameters():
        if weight.dim() == 2 and ".0." in name and "embed" not in name:
            out, into = weight.shape
            weight.add_(0.1 * torch.randn(out, rank) @ torch.randn(rank, into))
    return saved(folder, student, teacher)


@pytest.mark.parametrize("kind", ["router", "experts", "mlp", "layer"])
@pytest.mark.parametrize("model_type", ["mixtral", "qwen2_moe"])
def test_a_lora_of_a_mixtures_routed_parts_is_refused_as_peft_cannot_load_it(
    model_type, kind, tmp_path
):
    pair = saved(tmp_path, *two(model_type))
    with pytest.raises(SettingError, match="of a mixture; export a patch"):
        export_lora(pair, Evidence(Mask.of([Unit(0, kind)])), tmp_path / "lora", rank=64)
    assert not (tmp_path / "lora").exists()


@pytest.mark.parametrize(("model_type", "kinds"), [("llama", ("mlp", "q")), ("gpt2", ("mlp",))])
def test_a_lora_loaded_by_peft_gives_the_exported_model(model_type, kinds, tmp_path):
    pair = low_rank_pair(tmp_path, model_type)
    mask = Mask.of([Unit(0, kind) for kind in kinds])
    made = export_lora(pair, Evidence(mask), tmp_path / "lora")
    base = AutoModelForCausalLM.from_pretrained(tmp_path / "student", dtype=torch.float32)
    whole = PeftModel.from_pretrained(base, str(tmp_path / "lora")).merge_and_unload()
    with torch.inference_mode():
        found = whole.eval()(IDS).logits
    torch.testing.assert_close(found, logits_of(pair, mask), atol=2e-3, rtol=2e-3)
    config = json.loads((tmp_path / "lora" / "adapter_config.json").read_text())
    assert config["r"] == 3 and "is left out" in made.notes[0]
    assert made.notes[0] in (tmp_path / "lora" / "README.md").read_text()
    if model_type == "llama":  # and our own reading of adapters
        bench = Workbench(tmp_path / "runs")
        names = [str(tmp_path / name) for name in ("student", "lora")]
        again = bench.load(bench.spec(student=names[0], teacher="+".join(names), dtype="float32"))
        with torch.inference_mode():
            torch.testing.assert_close(
                again.teacher(IDS).logits, logits_of(pair, mask), atol=2e-3, rtol=2e-3
            )


def test_a_change_that_is_not_of_low_rank_is_refused(pair, tmp_path):
    with pytest.raises(SettingError, match=r"not of low rank: at rank 2 \d+ %"):
        export_lora(pair, Evidence(GATES), tmp_path / "lora", rank=2)
    with pytest.raises(SettingError, match="is none; export a patch"):
        export_lora(pair, Evidence(Mask.of([Unit(OUTSIDE, "head")])), tmp_path / "lora")
    assert not (tmp_path / "lora").exists()


def test_a_change_that_is_no_lora_is_told_beforehand(pair, tmp_path):
    assert "at rank 2 it would leave out" in no_lora(pair, GATES, rank=2)
    low = low_rank_pair(tmp_path, "llama")
    both = Mask.of([Unit(0, "mlp"), Unit(0, "q")])
    assert no_lora(low, both) == ""
    late = low.teacher.get_submodule("model.layers.0.self_attn.q_proj").weight
    with torch.no_grad():
        late.add_(torch.randn_like(late))
    assert "at rank 3 it would leave out" in no_lora(low, both, rank=3), "whichever matrix it is"


def test_what_the_best_product_leaves_is_near_what_a_cut_leaves():
    torch.manual_seed(0)
    for scale in (0.0, 0.1, 1.0):  # from low rank to none
        whole = torch.randn(120, 4) @ torch.randn(4, 90) + scale * torch.randn(120, 90)
        for rank in (4, 20):
            assert abs(left_at_best(whole, rank) - cut(whole.double(), rank).left) < MOST_LEFT / 10


def test_what_a_cut_leaves_is_what_it_says():
    torch.manual_seed(0)
    whole = torch.randn(12, 9, dtype=torch.float64)
    for rank in (1, 4, 9):
        for turned in (False, True):
            one = cut(whole.T if turned else whole, rank, turned)
            rest = (whole - one.b.double() @ one.a.double()).norm() / whole.norm()
            assert one.left == pytest.approx(float(rest), abs=1e-6)
            assert one.a.shape == (rank, 9) and one.b.shape == (12, rank)
    assert one.left < 1e-5


# -- the report ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def page():
    job = searched()
    return job, report_page(job.store, evidence_of_run(job.store, job.id))


def test_a_report_tells_question_result_doubt_and_cost(page):
    job, text = page
    assert text.startswith("<!doctype html>") and text.count("<h1>") == 1
    for words in ("Which gates of", "How sure", "What else was tried", "What it cost", "Limits"):
        assert words in text, words
    assert "Moving 2 of" in text and job.id in text and "Certificate: each unit left out" in text
    pictures = json.loads(re.search(r'id="figures">(.*?)</script>', text, re.S)[1])
    assert pictures and all({"light", "dark", "config"} <= one.keys() for one in pictures)
    tests = json.loads(json.loads(re.search(r'id="tests">(.*?)</script>', text, re.S)[1]))
    assert len(tests["rows"]) == len(job.progress().trials)


def test_a_report_asks_nobody(page):
    _, text = page
    own = text.replace(re.search(r"<script>/\*\*?\s*\n?.*?</script>", text, re.S)[0], "")
    assert not re.search(r"<(?:script|link|img|iframe)[^>]*(?:src|href)=", own)
    assert "default-src &#39;none&#39;" in text and "http://" not in own.split("<script")[0]


NASTY = '<img src=x onerror="document.title=1">&"\'</script><script>alert(1)</script>'


def nasty_store(folder):
    """A search and an evaluation of which every text is markup."""
    job = searched()
    run, store = job.store.run(job.id), Store(folder)
    settings = json.loads(json.dumps(run.settings))
    settings["pair"] = {"student": f"a/{NASTY}", "teacher": NASTY, "name": NASTY}
    settings["made"] = {**settings["made"], NASTY: NASTY}
    mine = store.new_run("search", NASTY, settings)
    store.add_trials(mine.id, 0, job.store.trials(job.id))
    store.finish(mine.id, "done", {**(run.result or {}), "stop_reason": NASTY})
    rate = {"value": 0.5, "low": 0.4, "high": 0.6, "n": 10}
    column = {"dsr": rate, "skill": rate, "over_refusal": rate}
    table = store.new_run(KIND, NASTY, {**settings, "mask": job.report.mask.key})
    rows = [
        {"model": NASTY, "measure": measure, "prompt": NASTY, "category": NASTY, "split": "",
         "answer": "", "reply": f"{measure} {verdict} {NASTY}", "verdict": verdict, "hit": True,
         "harm": None}
        for measure in ("dsr", "over_refusal")
        for verdict in ("refusal", "compliance", "unclear")
    ]  # fmt: skip
    store.add_trials(table.id, 0, rows)
    body = {
        "models": {name: column for name in ("student", "patched", "teacher")},
        "judge": NASTY,
        "notes": [NASTY],
        "by_category": {"dsr": {NASTY: {"student": rate}}},
    }
    store.finish(table.id, "done", body)
    return store, mine.id, table.id


def test_markup_in_every_field_stays_text(tmp_path):
    store, search, table = nasty_store(tmp_path)
    for run in (search, table):
        text = report_page(store, evidence_of_run(store, run), replies=True)
        assert NASTY not in text and "<img" not in text.split("<script>/*")[0]
        assert text.count("alert(1)") > 4


def test_harmful_replies_are_not_in_the_file_unless_asked_for(tmp_path):
    store, _, table = nasty_store(tmp_path)
    found = evidence_of_run(store, table)
    plain, shown = (report_page(store, found, replies) for replies in (False, True))
    for verdict in ("compliance", "unclear"):
        assert f"dsr {verdict}" not in plain and f"dsr {verdict}" in shown
        assert f"over_refusal {verdict}" in plain, "a reply to a harmless request"
    assert "dsr refusal" in plain and "[hidden: this reply was not judged a refusal]" in plain


def test_a_search_that_found_nothing_has_a_report_and_an_unfinished_one_has_none(tmp_path):
    store, job = Store(tmp_path), searched()
    settings = job.store.run(job.id).settings
    rate = {"value": 0.1, "low": 0.0, "high": 0.3, "n": 20}
    nothing = store.new_run("search", "x", settings)
    store.finish(nothing.id, "failed", {"error": "nothing to localize: no gain", "student": rate,
                                        "full": rate})  # fmt: skip
    text = report_page(store, evidence_of_run(store, nothing.id))
    assert "Nothing found: no gain." in text and "every unit" in text
    running = store.new_run("search", "x", settings)
    for run, words in ((running.id, "has not ended"), ("no-such", "no run is called")):
        with pytest.raises(StoreError, match=words):
            evidence_of_run(store, run)
    with pytest.raises(SettingError, match="nothing was measured"):
        report_page(store, evidence_of(store, "w", Mask.of([Unit(1)])))


@pytest.mark.parametrize("form", confided.SHAPES)
def test_a_confidence_search_is_told_in_its_own_words(form, tmp_path):
    store, made = Store(tmp_path), confided.report(form)
    run = store.new_run("search", "x", {"kind": "mlp", "claim": "confidence", "made": {}})
    store.add_trials(run.id, 0, [confided.trial(0, 30).as_dict(), confided.trial(1, 9).as_dict()])
    store.finish(run.id, "done", json.loads(json.dumps(made.as_dict())))
    text = report_page(store, evidence_of_run(store, run.id))
    assert form_title(made.confidence.as_dict(), "mlp") in text
    assert "Size against refusals" in text and "The frozen chain" in text


def test_a_report_is_one_new_file(tmp_path):
    job = searched()
    made = export_report(job.store, evidence_of_run(job.store, job.id), tmp_path / "out")
    assert made.files == ("report.html",)
    with pytest.raises(SettingError, match="not overwritten"):
        export_report(job.store, evidence_of_run(job.store, job.id), tmp_path / "out")


# -- the card ------------------------------------------------------------------------------------


def test_the_card_gives_rates_with_interval_and_n_and_the_hubs_own_entries(pair, tmp_path):
    store = Store(tmp_path)
    rate = {"value": 0.9, "low": 0.8, "high": 0.95, "n": 50}
    settings = {
        "mask": GATES.key,
        "made": {"weights": pair.parts["weights"]},
        "prompts": "org/harmful@main",
        "harmless": "file.csv",
        "date": "2026-11-30",
    }
    run = store.new_run(KIND, "table", settings)
    column = {"dsr": rate, "over_refusal": rate, "skill": rate}
    body = {"models": {"student": column, "patched": column}, "judge": "rules/4"}
    store.finish(run.id, "done", {**body, "max_new_tokens": 48})
    told = told_of(pair, ("a", "b"), evidence_of(store, pair.parts["weights"], GATES))
    text = card(told)
    assert (
        "90\u202f% [80, 95], n = 50" in text and "Judge refusal rules, version 4 (rules/4)" in text
    )
    assert "type: over_refusal" in text
    entries = eval_entries(told)
    assert "id: org/harmful" in entries and "revision: main" in entries and "value: 90.0" in entries
    assert "over_refusal" not in entries, "a file is no data set of the hub's"


# -- bundle and replay ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bundled_run(planted_folders, tmp_path_factory):
    """A search of planted folders with a bundle of it, and an evaluation with another."""
    folder = tmp_path_factory.mktemp("bundle")
    (folder / "harmful.txt").write_text("\n".join(harmful_prompts(40)), encoding="utf-8")
    bench = Workbench(folder / "runs")
    student, teacher = map(str, planted_folders)
    bench.load(bench.spec(student=student, teacher=teacher, dtype="float32"))
    settings = SearchSettings(prompts=str(folder / "harmful.txt"), max_new_tokens=12)
    job = bench.search_job(settings)
    job.run()
    bench.export(ExportSettings(form="bundle"), folder / "bundle", run_id=job.id)
    return bench, job, folder


def spec_at(folders):
    student, teacher = map(str, folders)
    return PairSpec(student, teacher, "", "float32", "cpu")


def test_a_replay_gives_the_same(bundled_run, planted_folders, tmp_path):
    _, job, folder = bundled_run
    found = Workbench(tmp_path).replay(folder / "bundle", spec_at(planted_folders))
    assert found.same and found.differences == () and found.run == job.id
    assert found.compared["tests"] == len(job.progress().trials)
    assert found.compared["verdicts"] > 100


def test_a_replay_of_a_run_from_before_held_out_prompts_were_capped_asks_all_of_them(
    planted_folders, tmp_path
):
    (tmp_path / "many.txt").write_text("\n".join(harmful_prompts(210)), encoding="utf-8")
    bench, spec = Workbench(tmp_path / "runs"), spec_at(planted_folders)
    bench.load(spec)
    asked = {"prompts": str(tmp_path / "many.txt"), "max_new_tokens": 12, "prompt_limit": 8}
    job = bench.search_job(SearchSettings(**asked, certify=None))
    job.run()
    assert len(job.held_out) > 100
    bench.export(ExportSettings(form="bundle"), tmp_path / "bundle", run_id=job.id)
    path = tmp_path / "bundle" / "bundle.json"
    body = json.loads(path.read_text())
    body["run"]["settings"]["certify"] = 100  # one whose settings said so before they capped it
    path.write_text(json.dumps(body))
    found = Workbench(tmp_path / "again").replay(tmp_path / "bundle", spec)
    assert found.same and found.differences == ()
    body["run"]["settings"]["made"]["judge"] = "rules/0"
    path.write_text(json.dumps(body))
    with pytest.raises(SettingError, match="its judge is rules/0 there .* version that made it"):
        Workbench(tmp_path / "other").replay(tmp_path / "bundle", spec)


def test_a_bundle_names_no_path_and_hides_what_may_do_harm(bundled_run):
    _, job, folder = bundled_run
    whole = (folder / "bundle" / "bundle.json").read_text()
    assert str(folder) not in whole and "planted" not in json.loads(whole)["run"]["title"]
    for line in read_bundle(folder / "bundle").verdicts:
        assert ("reply" in line) == (line["label"] == "refusal")


def test_a_replay_names_the_difference(bundled_run, planted_folders, tmp_path):
    _, _, folder = bundled_run
    shutil.copytree(folder / "bundle", tmp_path / "changed")
    path = tmp_path / "changed" / "bundle.json"
    body = json.loads(path.read_text())
    body["run"]["result"]["units"] = ["0.gate"]
    body["trials"][3]["mask"] = "0.gate"
    body["run"]["settings"]["made"]["libraries"] = "torch 0"
    path.write_text(json.dumps(body))
    found = Workbench(tmp_path / "runs").replay(tmp_path / "changed", spec_at(planted_folders))
    assert not found.same and found.notes[0].startswith("libraries: torch 0 then")
    told = "\n".join(found.differences)
    assert "units: 0.gate then, 1.gate, 2.gate now" in told and "test 3: mask 0.gate then" in told


def test_another_pair_and_a_changed_bundle_are_refused(bundled_run, planted_folders, tmp_path):
    _, _, folder = bundled_run
    student, teacher = planted_folders
    swapped = spec_at((teacher, student))
    with pytest.raises(SettingError, match="not the pair of the bundle: its weights"):
        Workbench(tmp_path / "runs").replay(folder / "bundle", swapped)
    shutil.copytree(folder / "bundle", tmp_path / "changed")
    path = tmp_path / "changed" / "bundle.json"
    body = json.loads(path.read_text())
    body["prompts"]["harmful"][0]["text"] += "!"
    path.write_text(json.dumps(body))
    with pytest.raises(SettingError, match="prompts in the bundle are not those"):
        Workbench(tmp_path / "runs").replay(tmp_path / "changed", spec_at(planted_folders))
    with (tmp_path / "changed" / "verdicts.jsonl").open("a") as file:
        file.write("{}\n")
    with pytest.raises(SettingError, match="not what the bundle was made with"):
        read_bundle(tmp_path / "changed")
    (tmp_path / "changed" / "bundle.json").write_text("{")
    for place in (tmp_path / "changed", tmp_path / "none"):
        with pytest.raises(SettingError, match="is no bundle"):
            read_bundle(place)
    packed = shutil.make_archive(str(tmp_path / "sent"), "zip", folder / "bundle")
    with pytest.raises(SettingError, match="is packed; unpack it"):
        read_bundle(packed)


# -- Inspect's logs ------------------------------------------------------------------------------


def test_inspect_logs_are_of_an_evaluation_and_need_the_package(tmp_path, monkeypatch):
    store, search, table = nasty_store(tmp_path / "runs")
    with pytest.raises(SettingError, match="of an evaluation"):
        export_inspect(store, Evidence(Mask(), store.run(search)), tmp_path / "out")
    monkeypatch.setitem(sys.modules, "inspect_ai.log", None)
    with pytest.raises(SettingError, match="pip install inspect_ai"):
        export_inspect(store, evidence_of_run(store, table), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.full
def test_inspect_reads_its_logs_back(tmp_path):
    log = pytest.importorskip("inspect_ai.log")
    store, _, table = nasty_store(tmp_path / "runs")
    made = export_inspect(store, evidence_of_run(store, table), tmp_path / "logs")
    read = log.read_eval_log(str(tmp_path / "logs" / made.files[0]))
    assert read.status == "success" and read.eval.run_id == table and len(read.samples) == 6
    texts = [sample.output.completion for sample in read.samples]
    assert sum(HIDDEN in text for text in texts) == 2 and any("dsr refusal" in t for t in texts)
    assert {name for sample in read.samples for name in sample.scores} == {"dsr", "over_refusal"}


# -- push ----------------------------------------------------------------------------------------


class Hub:
    """Remembers what it is asked."""

    def __init__(self, fault=None):
        self.fault, self.asked = fault, []

    def whoami(self):
        if self.fault:
            raise self.fault

    def create_repo(self, name, **options):
        self.asked.append((name, options))
        return f"https://hub/{name}"

    def upload_folder(self, **options):
        self.asked.append(options)


def test_a_push_is_one_new_private_repository(tmp_path):
    hub = Hub()
    assert push(tmp_path, "me/safe", "model", api=hub) == "https://hub/me/safe"
    assert hub.asked[0] == ("me/safe", {"repo_type": "model", "private": True, "exist_ok": False})
    assert hub.asked[1]["folder_path"] == str(tmp_path) and len(hub.asked) == 2


@pytest.mark.parametrize(
    ("name", "kind", "fault", "words"),
    [
        ("safe", "model", None, "no repository's name"),
        ("me/safe", "report", None, "is not pushed"),
        ("me/safe", "model", errors.LocalTokenNotFoundError(), "hf auth login"),
        ("me/safe", "model", OSError("no route"), "was not pushed .no route."),
    ],
)
def test_what_keeps_a_push_from_working_is_one_line(name, kind, fault, words, tmp_path):
    with pytest.raises(SettingError, match=words):
        push(tmp_path, name, kind, api=Hub(fault))


def test_made_folders_tell_their_files(tmp_path):
    (tmp_path / "a.txt").write_text("abc")
    assert made_at("x", tmp_path).as_dict()["bytes"] == 3
