"""Exported models and patches: what transformers loads is what the mask showed."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import fields, replace
from filecmp import cmpfiles, dircmp
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from support import LAYERS, TOKENIZER, random_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from dapa.core.records import OUTSIDE, Mask, PairError, SettingError, Unit
from dapa.model.checkpoint import Checkpoint
from dapa.model.pair_loading import load_pair
from dapa.model.presets import presets
from dapa.model.spec import PairSpec
from dapa.model.transplant import masked
from dapa.share import changed
from dapa.share.evidence import Evidence
from dapa.share.model import export_model, origin_beside
from dapa.share.patch import FILE, _readme, apply_patch, export_patch, open_patch

IDS = torch.tensor([[9, 14, 23, 31, 8], [40, 41, 42, 12, 7]])
GATES = Mask.of([Unit(0, "gate"), Unit(2, "gate")])


def saved(folder, student, teacher, **options):
    """Two models as folders, loaded as a pair."""
    for name, model in (("student", student), ("teacher", teacher)):
        model.save_pretrained(folder / name, **options)
        TOKENIZER.save_pretrained(folder / name)
    spec = PairSpec(str(folder / "student"), str(folder / "teacher"), "", "float32", "cpu")
    return load_pair(spec)


def two(model_type="llama", **extra):
    """A student and a teacher that differ everywhere."""
    return random_model(model_type, 1, **extra), random_model(model_type, 2, **extra)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    return saved(tmp_path_factory.mktemp("pair"), *two())


def logits_of(pair, mask):
    with torch.inference_mode(), masked(pair.plan([mask] * len(IDS))):
        return pair.student(IDS).logits


def loaded(folder, dtype=torch.float32):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, local_files_only=True)
    with torch.inference_mode():
        return model.eval()(IDS).logits


def same_files(one, other):
    """Do two folders hold the same files with the same bytes?"""
    found = dircmp(one, other)
    names = [str(p.relative_to(one)) for p in Path(one).rglob("*") if p.is_file()]
    _, wrong, lost = cmpfiles(one, other, names, shallow=False)
    return not (found.left_only or found.right_only or wrong or lost)


WHOLE = [
    GATES,
    Mask.of([Unit(1, "mlp"), Unit(0, "attention"), Unit(2, "norms")]),
    Mask.of([Unit(OUTSIDE, kind) for kind in ("embeddings", "final_norm", "head")]),
    Mask.of([Unit(layer, "layer") for layer in range(LAYERS)]),
    Mask.of([Unit(1, "gate", (3, 9)), Unit(1, "down", (3, 9)), Unit(2, "up", (0, 24))]),
]


@pytest.mark.parametrize("mask", WHOLE, ids=lambda mask: mask.key[:24])
def test_plain_transformers_gives_the_logits_that_the_mask_showed(pair, mask, tmp_path):
    made = export_model(pair, Evidence(mask), tmp_path / "model")
    found = loaded(tmp_path / "model")
    close = any(unit.block for unit in mask.units)
    torch.testing.assert_close(found, logits_of(pair, mask), atol=1e-4 * close, rtol=1e-4 * close)
    assert made.tensors and made.notes == ()
    assert AutoTokenizer.from_pretrained(tmp_path / "model")("hello").input_ids
    assert origin_beside(tmp_path / "model") == mask


def test_a_fraction_is_a_blend_of_weights(pair, tmp_path):
    mask = Mask.of([Unit(1, "mlp")], 0.3)
    export_model(pair, Evidence(mask), tmp_path / "model")
    torch.testing.assert_close(
        loaded(tmp_path / "model"), logits_of(pair, mask), atol=2e-3, rtol=2e-3
    )


@pytest.mark.parametrize("model_type", ["gpt2", "phi3", "gpt_neox", "qwen2", "gemma2"])
def test_fused_and_turned_weights_go_back_to_where_the_files_have_them(model_type, tmp_path):
    pair = saved(tmp_path, *two(model_type))
    kinds = [kind for kind in pair.family.single if pair.differs.get(kind)]
    mask = Mask.of([Unit(1, kind) for kind in kinds if pair.differs[kind][0] != OUTSIDE])
    export_model(pair, Evidence(mask), tmp_path / "model")
    assert torch.equal(loaded(tmp_path / "model"), logits_of(pair, mask))


@pytest.mark.parametrize("model_type", ["mixtral", "qwen2_moe", "gpt_oss"])
def test_the_parts_of_a_mixture_of_experts_go_back_into_its_files(model_type, tmp_path):
    pair = saved(tmp_path, *two(model_type))
    mask = Mask.of([Unit(1, "mlp"), Unit(2, "router")])
    made = export_model(pair, Evidence(mask), tmp_path / "model")
    assert torch.equal(loaded(tmp_path / "model"), logits_of(pair, mask))
    assert made.tensors >= 3


@pytest.mark.parametrize(
    "units", [(Unit(1, "heads", (2, 3)), Unit(0, "kv", (1, 2))), (Unit(1, "gate", None, 5),)],
    ids=["heads", "rank"],
)  # fmt: skip
def test_heads_and_ranks_are_exported_as_they_are_shown(pair, units, tmp_path):
    mask = Mask.of(units)
    export_model(pair, Evidence(mask), tmp_path / "model")
    torch.testing.assert_close(
        loaded(tmp_path / "model"), logits_of(pair, mask), atol=2e-4, rtol=2e-4
    )


def test_tied_embeddings_are_one_matrix_in_the_export_too(tmp_path):
    pair = saved(tmp_path, *two(tie_word_embeddings=True))
    mask = Mask.of([Unit(OUTSIDE, "embeddings")])
    export_model(pair, Evidence(mask), tmp_path / "model")
    assert torch.equal(loaded(tmp_path / "model"), logits_of(pair, mask))


def test_a_head_that_only_the_student_ties_is_untied_where_it_must_be(tmp_path):
    student, teacher = random_model("llama", 1, tie_word_embeddings=True), random_model("llama", 2)
    pair = saved(tmp_path, student, teacher)
    for name, kind in (("a", "embeddings"), ("b", "head")):
        mask = Mask.of([Unit(OUTSIDE, kind)])
        export_model(pair, Evidence(mask), tmp_path / name)
        assert torch.equal(loaded(tmp_path / name), logits_of(pair, mask)), kind
        assert not json.loads((tmp_path / name / "config.json").read_text())["tie_word_embeddings"]


def test_shards_are_the_students_and_only_changed_tensors_are_new(tmp_path):
    pair = saved(tmp_path, *two(), max_shard_size="20KB")
    export_model(pair, Evidence(GATES), tmp_path / "model")
    ours = sorted(p.name for p in (tmp_path / "student").glob("*.safetensors"))
    assert len(ours) > 2
    assert ours == sorted(p.name for p in (tmp_path / "model").glob("*.safetensors"))
    old, new = (
        {
            k: v
            for p in sorted((tmp_path / d).glob("*.safetensors"))
            for k, v in load_file(p).items()
        }
        for d in ("student", "model")
    )
    differ = {name for name in old if not torch.equal(old[name], new[name])}
    assert differ == {f"model.layers.{i}.mlp.gate_proj.weight" for i in (0, 2)}
    index = "model.safetensors.index.json"
    assert json.loads((tmp_path / "model" / index).read_text()) == json.loads(
        (tmp_path / "student" / index).read_text()
    )
    assert torch.equal(loaded(tmp_path / "model"), logits_of(pair, GATES))


def test_a_teacher_of_more_precision_keeps_it(tmp_path):
    student, teacher = two()
    pair = saved(tmp_path, student.to(torch.bfloat16), teacher)
    made = export_model(pair, Evidence(GATES), tmp_path / "model")
    assert torch.equal(loaded(tmp_path / "model"), logits_of(pair, GATES))
    assert "BF16 would round them" in made.notes[0]
    with safe_open(tmp_path / "model" / "model.safetensors", "pt") as file:
        kept = {name: file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118
    assert [n for n, d in kept.items() if d == "F32"] == [
        f"model.layers.{i}.mlp.gate_proj.weight" for i in (0, 2)
    ]


def test_the_same_export_made_twice_is_the_same_to_the_byte(pair, tmp_path):
    for export, names in ((export_model, ("a", "b")), (export_patch, ("c", "d"))):
        for name in names:
            export(pair, Evidence(GATES), tmp_path / name)
        assert same_files(*(tmp_path / name for name in names))


def test_nothing_that_exists_is_overwritten_and_no_half_folder_is_left(pair, tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "file").write_text("mine")
    for name in ("there", "file"):
        for export in (export_model, export_patch):
            with pytest.raises(SettingError, match="not overwritten"):
                export(pair, Evidence(GATES), tmp_path / name)
    with pytest.raises(SettingError, match="layer 9 does not exist"):
        export_model(pair, Evidence(Mask.of([Unit(9)])), tmp_path / "model")
    with pytest.raises(SettingError, match="nothing is transplanted"):
        export_model(pair, Evidence(Mask()), tmp_path / "model")
    with pytest.raises(SettingError, match="cannot write"):
        export_model(pair, Evidence(GATES), tmp_path / "file" / "below")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "there"]


def test_a_student_of_codes_is_refused_by_name(pair, tmp_path, monkeypatch):
    class Coded(Checkpoint):
        """As a GGUF or a quantised folder is opened."""

    opened = changed.open_checkpoint

    def coded(name):
        found = opened(name)
        return Coded(**{one.name: getattr(found, one.name) for one in fields(Checkpoint)})

    monkeypatch.setattr(changed, "open_checkpoint", coded)
    with pytest.raises(SettingError, match="as codes"):
        export_model(pair, Evidence(GATES), tmp_path / "model")


def test_a_full_disk_is_told_before_anything_is_written(pair, tmp_path, monkeypatch):
    import shutil

    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=10))
    with pytest.raises(SettingError, match="64 MiB are to be left, and .* MiB are free"):
        export_model(pair, Evidence(GATES), tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_files_that_changed_since_the_pair_was_loaded_are_not_exported(tmp_path):
    pair = saved(tmp_path, *two())
    weights = tmp_path / "student" / "model.safetensors"
    tensors = load_file(weights)
    save_file({k: v + 1 for k, v in tensors.items()}, weights, {"format": "pt"})
    with pytest.raises(SettingError, match="changed since the pair was loaded"):
        export_model(pair, Evidence(GATES), tmp_path / "model")


def test_a_patch_applied_is_the_exported_model(pair, tmp_path):
    export_model(pair, Evidence(GATES), tmp_path / "model")
    made = export_patch(pair, Evidence(GATES), tmp_path / "patch")
    assert made.files == ("README.md", FILE)
    held = set(load_file(tmp_path / "patch" / FILE))
    assert held == {f"model.layers.{i}.mlp.gate_proj.weight" for i in (0, 2)}
    for place in ("patch", f"patch/{FILE}"):
        target = tmp_path / place.replace("/", "-").replace("patch", "applied")
        apply_patch(tmp_path / place, pair.spec.student, target)
        assert same_files(tmp_path / "model", target)


def test_a_patchs_page_names_a_student_that_can_be_given(pair, tmp_path):
    """A folder's last part, which is all that is told of a path, loads nothing."""
    export_patch(pair, Evidence(GATES), tmp_path / "here")
    page = (tmp_path / "here" / "README.md").read_text(encoding="utf-8")
    assert "--student STUDENT --to" in page and "STUDENT is its folder" in page
    page = _readme("---\nyaml\n---\n# title\n\nbody", "org/student")
    assert "--student org/student --to" in page and "STUDENT" not in page


def test_a_patch_refuses_another_student_and_a_changed_patch(pair, tmp_path):
    export_patch(pair, Evidence(GATES), tmp_path / "patch")
    for student, words in ((pair.spec.teacher, "was made for"), ("nowhere/", "neither a folder")):
        with pytest.raises((SettingError, PairError), match=words):
            apply_patch(tmp_path / "patch", student, tmp_path / "out")
    patch = open_patch(tmp_path / "patch")
    tensors = load_file(patch.path)
    name = next(iter(tensors))
    tensors[name] = tensors[name] + 1
    save_file(tensors, patch.path, dict(patch.metadata))
    with pytest.raises(SettingError, match="not what the patch's header says"):
        apply_patch(tmp_path / "patch", pair.spec.student, tmp_path / "out")
    evil = {**patch.metadata, "texts": json.dumps({"../out.txt": "x"})}
    save_file(tensors, patch.path, evil)
    with pytest.raises(SettingError, match="not whole"):
        apply_patch(tmp_path / "patch", pair.spec.student, tmp_path / "out")
    for content, words in ((b"junk", "no safetensors"), (b"", "no safetensors")):
        patch.path.write_bytes(content)
        with pytest.raises((SettingError, PairError), match=words):
            apply_patch(tmp_path / "patch", pair.spec.student, tmp_path / "out")
    with pytest.raises(SettingError, match="is no patch"):
        apply_patch(tmp_path / "none", pair.spec.student, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_card_names_no_path_of_this_machine(pair, tmp_path):
    export_model(pair, Evidence(GATES), tmp_path / "model")
    text = (tmp_path / "model" / "README.md").read_text()
    assert str(Path(pair.spec.student).parent) not in text
    assert "base_model:\n- student\n- teacher\n" in text and "base_model_relation: merge" in text
    assert "--units 0.gate,2.gate --as model" in text and "Nothing was measured" in text


def test_every_bundled_toy_is_exported_and_loaded_by_plain_transformers(tmp_path):
    for one in presets().values():
        if one.group != "bundled":
            continue
        pair = load_pair(replace(one.spec("float32", "cpu")))
        kind = "gate" if pair.differs["gate"] else "mlp"
        mask = Mask.of(pair.units(kind))
        export_model(pair, Evidence(mask), tmp_path / one.name)
        assert torch.equal(loaded(tmp_path / one.name), logits_of(pair, mask)), one.name


SCRIPT = """
import sys, time
from dapa.core.records import Mask, Unit
from dapa.model.checkpoint import Checkpoint
from dapa.model.pair_loading import load_pair
from dapa.model.spec import PairSpec
from dapa.share import model, tensorfiles
from dapa.share.evidence import Evidence
slow = tensorfiles._copy
def copy(*given):
    print("copying", flush=True)
    time.sleep(0.02)
    slow(*given)
tensorfiles._copy = copy
pair = load_pair(PairSpec(sys.argv[1], sys.argv[2], "", "float32", "cpu"))
model.export_model(pair, Evidence(Mask.of([Unit(0)])), sys.argv[3])
"""


@pytest.mark.slow
def test_a_kill_in_the_middle_leaves_no_folder_of_that_name(pair, tmp_path):
    told = [sys.executable, "-c", SCRIPT, pair.spec.student, pair.spec.teacher]
    for wait in (0.0, 0.1):
        with subprocess.Popen([*told, str(tmp_path / "model")], stdout=subprocess.PIPE) as run:
            assert run.stdout is not None and run.stdout.readline() == b"copying\n"
            time.sleep(wait)
            os.kill(run.pid, signal.SIGKILL)
        assert not (tmp_path / "model").exists()
    export_model(pair, Evidence(GATES), tmp_path / "model")
    assert torch.equal(loaded(tmp_path / "model"), logits_of(pair, GATES))
