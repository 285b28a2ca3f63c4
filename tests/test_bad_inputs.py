"""What people get wrong: one line with the value seen and the next step, and nothing is lost.

The rows of BAD_INPUTS.md on models and on the machine stand here, those on what is asked of a
loaded pair in `test_bad_requests` and with what they concern: `badrows` says where.
"""

import ast
import json
import re
from copy import copy
from pathlib import Path

import folders
import huggingface_hub
import huggingface_hub.errors as hub_errors
import pytest
import torch
from badrows import ROWS
from support import TOKENIZER, planted_models, random_model

from dapa.core.records import EMPTY, PairError, PromptError, SettingError, Unit
from dapa.model import loading, memory
from dapa.model.adapted import open_checkpoint
from dapa.model.compatibility import check
from dapa.model.loading import LoadCancelled
from dapa.model.pair_loading import load_pair
from dapa.model.spec import PairSpec
from dapa.model.template import encode, render
from dapa.prompts.format import PromptFormat, Turn
from dapa.workbench import Workbench

NEXT_STEP = re.compile(r"\b(give|choose|check|download|connect|use|convert|merge|free|accept)\b")


@pytest.mark.parametrize("row", ROWS)
def test_every_row_has_its_test(row):
    names = ROWS[row]
    for name in [names] if isinstance(names, str) else names:
        file, _, test = name.partition("::")
        source = Path(__file__).with_name(f"test_{file}.py").read_text(encoding="utf-8")
        made = {n.name for n in ast.walk(ast.parse(source)) if isinstance(n, ast.FunctionDef)}
        assert f"test_{test}" in made, f"{row}: {name} is not there"


@pytest.fixture(scope="module")
def bench(planted_pair, tmp_path_factory):
    """A workbench on which a good pair is already loaded."""
    return Workbench(tmp_path_factory.mktemp("runs"), planted_pair)


def expect(bench, spec, *words, kind=PairError):
    """Loading fails with one plain line, and the pair that was there still answers."""
    before = bench.pair
    with pytest.raises(kind) as caught:
        bench.load(spec)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 450, message
    assert all(word in message for word in words), message
    assert NEXT_STEP.search(message), f"no next step in: {message}"
    assert bench.pair is before
    assert before.student(torch.tensor([[5]])).logits.shape[1] == 1
    return message


def cpu(student, teacher, **more):
    return PairSpec(str(student), str(teacher), dtype="float32", device="cpu", **more)


# -- names --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("", ["no model given", "give a folder or a hub id"]),
        ("  ", ["no model given"]),
        ("/no/such/folder", ["/no/such/folder does not exist"]),
        ("./nowhere", ["./nowhere does not exist"]),
        ("nowhere", ["nowhere does not exist", "org/name"]),
        ("~nobody-at-all/model", ["~nobody-at-all/model"]),
        ("x" * 5000, ["xxx...", "cannot be a folder"]),
        ("a\0b", ["does not exist"]),
        ("nobody/nothing", ["nobody/nothing is not in the local cache", "local path"]),
        ("nobody/nothing@v9", ["nobody/nothing is not in the local cache"]),
        ("a b/c!", ["'a b/c!' is neither a folder nor a hub id"]),
    ],
)
def test_a_name_that_leads_nowhere(bench, planted_folders, name, words):
    expect(bench, cpu(name, planted_folders[1]), *words)
    expect(bench, cpu(planted_folders[0], name), *words)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (hub_errors.GatedRepoError, ["is gated", "hf auth login"]),
        (hub_errors.RepositoryNotFoundError, ["is not on the hub"]),
        (hub_errors.RevisionNotFoundError, ["has no revision 'v9'"]),
        (hub_errors.LocalEntryNotFoundError, ["hub cannot be reached"]),
        (OSError, ["hub cannot be reached"]),
    ],
)
def test_a_hub_that_refuses(bench, planted_folders, monkeypatch, error, words):
    def refuse(*args, **kwargs):
        raise error.__new__(error)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    expect(bench, cpu("org/name@v9", planted_folders[1]), "org/name", *words)


# -- folders --------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", folders.SPOILED)
def test_a_folder_that_is_no_model(bench, planted_folders, tmp_path, fault):
    spoil, words = folders.SPOILED[fault]
    student = folders.copy_of(planted_folders[0], tmp_path / "student")
    spoil(student)
    expect(bench, cpu(student, planted_folders[1]), *words)


def test_a_file_for_a_folder(bench, planted_folders):
    expect(bench, cpu(planted_folders[0] / "config.json", planted_folders[1]), "is a file; give")


def test_two_architectures(bench, planted_folders, tmp_path):
    student, _ = planted_models("qwen2").save(tmp_path)
    expect(bench, cpu(student, planted_folders[1]), "the student is qwen2, the teacher llama")


def test_the_same_model_twice(bench, planted_folders, tmp_path):
    twin = folders.copy_of(planted_folders[0], tmp_path / "twin")
    for teacher in (planted_folders[0], twin):
        expect(bench, cpu(planted_folders[0], teacher), "the same model")


def test_models_that_differ_outside_of_every_site(bench, planted_folders, tmp_path):
    twin = folders.copy_of(planted_folders[0], tmp_path / "twin")
    student = folders.copy_of(planted_folders[0], tmp_path / "student")
    name = "model.layers.0.self_attn.sinks"
    for folder in (student, twin):
        folders.tensors(folder, lambda content: content.update({name: torch.zeros(2)}))
    folders.nudge(twin, name)
    expect(bench, cpu(student, twin), f"only {name} differs, which no mask moves")


def test_models_that_differ_in_attention_only_make_a_pair(planted_folders, tmp_path):
    twin = folders.copy_of(planted_folders[0], tmp_path / "twin")
    folders.nudge(twin, "model.layers.0.self_attn.q_proj.weight")
    assert "what differs is q" in findings(planted_folders[0], twin)["gates"].why
    pair = load_pair(cpu(planted_folders[0], twin))
    assert pair.units("attention") == (Unit(0, "attention"),)
    with pytest.raises(SettingError, match="equal gate weights .* differs is q, attention"):
        pair.units("gate")


# -- what only warns ----------------------------------------------------------------------------


def findings(student, teacher):
    report = check(open_checkpoint(str(student)), open_checkpoint(str(teacher)))
    json.dumps(report.as_dict(), allow_nan=False)
    return {f.what: f for f in report.findings if f.level == "warns"}


def test_equal_gates_are_told_with_what_differs_instead(planted_folders, tmp_path):
    twin = folders.copy_of(planted_folders[0], tmp_path / "twin")
    folders.nudge(twin)
    assert "what differs is up" in findings(planted_folders[0], twin)["gates"].why


def test_other_vocabulary_tokenizer_and_tied_embeddings_warn_and_load(bench, tmp_path):
    for role, seed, tied in (("student", 0, False), ("teacher", 1, True)):
        model = random_model("llama", seed, tie_word_embeddings=tied)
        tokenizer = copy(TOKENIZER)
        if tied:
            model.resize_token_embeddings(len(TOKENIZER) + 8)
            tokenizer = planted_models("llama").tokenizer
            tokenizer.add_tokens(["one", "more"])
        model.save_pretrained(tmp_path / role)
        tokenizer.save_pretrained(tmp_path / role)
    found = findings(tmp_path / "student", tmp_path / "teacher")
    assert f"{len(TOKENIZER)} entries, the teacher {len(TOKENIZER) + 8}" in found["vocabulary"].why
    assert f"{len(TOKENIZER)} of {len(TOKENIZER)} tokens agree" in found["tokenizer"].why
    assert "teacher ties its head" in found["tied embeddings"].why
    pair = load_pair(cpu(tmp_path / "student", tmp_path / "teacher"))
    assert pair.differs["gate"] == [0, 1, 2]


def test_a_missing_template_warns_and_prompts_are_read_raw(planted_folders, tmp_path):
    places = [folders.copy_of(p, tmp_path / p.name) for p in planted_folders]
    (places[1] / "chat_template.jinja").unlink()
    assert "the student's serves both" in findings(*places)["chat template"].why
    (places[0] / "chat_template.jinja").unlink()
    assert "given raw" in findings(*places)["chat template"].why
    pair = load_pair(cpu(*places))
    assert render(pair, [Turn("user", "how do I")], PromptFormat()) == "how do I"


@pytest.mark.parametrize(
    "template", ["{{ oops(", "{{ nothing.at.all }}", "{{ raise_exception('no') }}"]
)
def test_a_broken_template_is_told_with_the_raw_mode_as_the_way_out(
    planted_folders, tmp_path, template
):
    teacher = folders.copy_of(planted_folders[1], tmp_path / "teacher")
    (teacher / "chat_template.jinja").write_text(template)
    pair = load_pair(cpu(planted_folders[0], teacher))
    with pytest.raises(PromptError, match="the teacher's chat template .* choose the raw mode"):
        render(pair, [Turn("user", "how do I")], PromptFormat())
    assert render(pair, [Turn("user", "how do I")], PromptFormat("raw")) == "how do I"


def test_a_token_without_an_embedding_is_named(planted_folders, tmp_path):
    teacher = folders.copy_of(planted_folders[1], tmp_path / "teacher")
    tokenizer = planted_models("llama").tokenizer
    tokenizer.add_tokens(["<beyond>"])
    tokenizer.save_pretrained(teacher)
    pair = load_pair(cpu(planted_folders[0], teacher))
    with pytest.raises(PromptError, match="'<beyond>', which the teacher's tokenizer knows"):
        encode(pair, "how do I <beyond>", PromptFormat("raw"), "teacher")


# -- the machine --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"device": "gpu"}, ["'gpu' is not a device", "auto, cpu, cuda"]),
        ({"device": "cpu:x"}, ["'cpu:x' is not a device"]),
        ({"dtype": "float8"}, ["'float8' is not a dtype", "bfloat16"]),
        ({"dtype": "torch.float32"}, ["'torch.float32' is not a dtype"]),
    ],
)
def test_a_device_or_dtype_that_is_none(bench, planted_folders, changes, words):
    student, teacher = map(str, planted_folders)
    expect(bench, PairSpec(student, teacher, **changes), *words)


@pytest.mark.parametrize("device", ["cuda", "cuda:0", "cuda:7"])
def test_cuda_asked_for_and_absent(bench, planted_folders, monkeypatch, device):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    spec = PairSpec(*map(str, planted_folders), device=device)
    expect(bench, spec, f"device '{device}' was asked for", "no CUDA", "use cpu")


def test_a_card_beyond_the_last(bench, planted_folders, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    spec = PairSpec(*map(str, planted_folders), device="cuda:2")
    expect(bench, spec, "'cuda:2'", "only 2", "use cuda:0")


def test_more_than_the_memory_holds_is_refused_before_it_is_read(
    bench, planted_folders, monkeypatch
):
    monkeypatch.setattr(memory, "free_memory", lambda device: 1000)
    monkeypatch.setattr(loading, "AutoModelForCausalLM", None)  # must not be reached
    expect(bench, cpu(*planted_folders), "MiB of memory", "free on cpu", "bfloat16")


@pytest.mark.parametrize("error", [torch.cuda.OutOfMemoryError, MemoryError])
def test_memory_that_runs_out_while_loading(bench, planted_folders, monkeypatch, error):
    def run_out(*args, **kwargs):
        raise error("tried to allocate")

    monkeypatch.setattr(loading.AutoModelForCausalLM, "from_pretrained", run_out)
    expect(bench, cpu(*planted_folders), "does not fit on cpu", "free memory")


@pytest.mark.parametrize("moment", [0, 1, 4, 5, 20, 60])
def test_a_load_cancelled_at_any_moment_keeps_the_pair_and_can_be_repeated(
    bench, planted_folders, moment
):
    before, told = bench.pair, []

    def cancel(what, share):
        told.append((what, share))
        if len(told) > moment:
            raise LoadCancelled

    with pytest.raises(LoadCancelled):
        bench.load(cpu(*planted_folders), cancel)
    assert bench.pair is before and len(told) == moment + 1
    assert before.plan([EMPTY]) is None
    other = load_pair(cpu(*planted_folders))
    assert other.differs == before.differs
