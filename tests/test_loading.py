"""Loading a pair: what is read is what was saved, whoever else loads, however it is stored."""

import json
import threading
from copy import deepcopy

import folders
import pytest
import torch
from support import LAYERS, TOKENIZER, generated, planted_models, random_model, random_trio
from transformers.utils import logging as transformers_logging

from dapa.core.records import Mask, Unit
from dapa.model import machine
from dapa.model.adapted import open_checkpoint
from dapa.model.compatibility import check
from dapa.model.decode.generation import Row, complete
from dapa.model.decode.sampling import Decoding
from dapa.model.digests import digest_of
from dapa.model.machine import LARGE, choose_device, choose_dtype, free_memory
from dapa.model.pair_loading import load_pair
from dapa.model.spec import PairSpec
from dapa.model.template import encode, render
from dapa.planted.pairs import harmful_prompts
from dapa.prompts.format import PromptFormat, Turn

IDS = torch.tensor([[9, 14, 23, 31, 8]])


def cpu(student, teacher, dtype="float32"):
    return PairSpec(str(student), str(teacher), dtype=dtype, device="cpu")


def save(model, place, tokenizer=TOKENIZER):
    model.save_pretrained(place)
    tokenizer.save_pretrained(place)
    return place


@pytest.fixture
def copies(planted_folders, tmp_path):
    """Private copies of the planted student and teacher."""
    return [folders.copy_of(folder, tmp_path / folder.name) for folder in planted_folders]


def test_a_loaded_pair_holds_the_saved_weights_bit_for_bit(model_type, tmp_path):
    trio = random_trio(model_type)
    places = [
        save(deepcopy(trio.student), tmp_path / "s"),
        save(deepcopy(trio.teacher), tmp_path / "t"),
    ]
    pair = load_pair(cpu(*places))
    assert pair.family.model_type == model_type
    for mask in (Mask(), Mask.of(pair.units("mlp")), Mask.of([Unit(0), Unit(2, "down")])):
        (row,) = complete(pair, [Row((9, 14, 23), mask)], Decoding(8))
        assert row.new_ids == generated(trio.materialised(mask), (9, 14, 23), 8)
    assert torch.equal(pair.teacher(IDS).logits, trio.teacher(IDS).logits)
    assert pair.differs == trio.pair.differs
    assert {k: list(v) for k, v in pair.report.differs.items()} == {
        kind: trio.pair.differs[kind] for kind in trio.pair.family.single
    }
    assert not any(p.requires_grad for p in pair.student.parameters())
    assert not pair.student.training and not pair.teacher.training


def test_shards_and_one_file_load_the_same(copies, planted_folders):
    for copy in copies:
        folders.shard(copy)
    whole, parts = load_pair(cpu(*planted_folders)), load_pair(cpu(*copies))
    assert torch.equal(whole.student(IDS).logits, parts.student(IDS).logits)
    assert torch.equal(whole.teacher(IDS).logits, parts.teacher(IDS).logits)
    assert whole.report.distance == parts.report.distance


def test_where_one_file_and_an_index_stand_side_by_side_report_and_weights_are_of_one(copies):
    student = copies[0]
    whole = (student / "model.safetensors").read_bytes()
    folders.nudge(student)
    folders.shard(student)
    (student / "model.safetensors").write_bytes(whole)
    pair = load_pair(cpu(*copies))
    assert not pair.report.differs["up"] and not pair.differs["up"]


def test_a_tied_student_and_an_untied_teacher_make_a_pair(tmp_path):
    tied = random_model("llama", 0, tie_word_embeddings=True)
    untied = random_model("llama", 1)
    tied.lm_head.weight = tied.model.embed_tokens.weight
    pair = load_pair(
        cpu(save(deepcopy(tied), tmp_path / "a"), save(deepcopy(untied), tmp_path / "b"))
    )
    assert torch.equal(pair.student(IDS).logits, tied(IDS).logits)
    assert torch.equal(pair.teacher(IDS).logits, untied(IDS).logits)
    count = sum(p.numel() for p in tied.parameters())
    assert pair.parameters == count


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_is_loaded_as_asked_and_masks_select_there_too(planted_folders, dtype):
    pair = load_pair(cpu(*planted_folders, dtype))
    assert {str(p.dtype) for p in pair.student.parameters()} == {f"torch.{dtype}"}
    assert pair.digest.endswith(f":{dtype}")
    full = Mask.of(pair.units("gate"))
    ids = encode(
        pair, render(pair, [Turn("user", harmful_prompts(1)[0])], PromptFormat()), PromptFormat()
    )
    masked, plain = complete(pair, [Row(ids, full), Row(ids)], Decoding(12))
    (teacher,) = complete(pair, [Row(ids)], Decoding(12), "teacher")
    assert masked.new_ids == teacher.new_ids != plain.new_ids


def test_checkpoints_stored_in_two_precisions_are_compared_by_value(copies):
    for copy in copies:
        folders.cast(torch.bfloat16)(copy)
    folders.cast(torch.float32)(copies[1])
    report = check(*(open_checkpoint(str(copy)) for copy in copies))
    assert report.compatible and report.differs["gate"] and not report.differs["up"]


def test_defaults_that_a_config_leaves_out_do_not_part_a_pair(tmp_path):
    models = [random_model("llama", seed, num_key_value_heads=4) for seed in (0, 1)]
    places = [save(model, tmp_path / str(i)) for i, model in enumerate(models)]
    folders.config(places[0], num_key_value_heads=None, head_dim=None, hidden_act=None)
    report = check(*(open_checkpoint(str(place)) for place in places))
    assert report.compatible, report.findings
    assert load_pair(cpu(*places)).n_layers == LAYERS


def test_another_activation_warns_only(copies):
    folders.config(copies[0], hidden_act="gelu")
    report = check(*(open_checkpoint(str(copy)) for copy in copies))
    (finding,) = [f for f in report.findings if f.what == "activation"]
    assert report.compatible and finding.level == "warns" and "gelu" in finding.why


def test_the_report_is_whole_and_plain_json(planted_folders):
    report = check(*(open_checkpoint(str(folder)) for folder in planted_folders))
    told = json.loads(json.dumps(report.as_dict(), allow_nan=False))
    assert told["compatible"] and told["layers"] == 4
    assert told["differs"].pop("gate") == [0, 1, 2, 3]
    assert {"up", "q", "input_layernorm", "head"} < set(told["differs"])
    assert not any(told["differs"].values())
    assert told["bytes"] == sum((f / "model.safetensors").stat().st_size for f in planted_folders)
    assert set(told["findings"][0]) == {"level", "what", "why"}


def test_headers_tell_shapes_without_reading_weights(planted_folders):
    found = open_checkpoint(str(planted_folders[0]))
    model = planted_models("llama").student
    assert found.shapes == {name: tuple(t.shape) for name, t in model.state_dict().items()}
    assert set(found.dtypes.values()) == {"F32"}
    name = "model.layers.1.mlp.gate_proj.weight"
    assert torch.equal(found.tensor(name), model.state_dict()[name])


def test_the_digest_follows_the_weights(copies, planted_folders):
    def digest(folder):
        return digest_of(open_checkpoint(str(folder)))

    assert digest(copies[0]) == digest(planted_folders[0]) != digest(copies[1])
    folders.nudge(copies[0])
    assert digest(copies[0]) != digest(planted_folders[0])


# -- tokenizers ---------------------------------------------------------------------------------


def test_a_generic_tokenizer_stays_as_its_file_has_it_whatever_the_architecture(
    model_type, tmp_path
):
    places = planted_models(model_type).save(tmp_path)
    tokenizer = open_checkpoint(str(places[0])).tokenizer
    assert json.loads(tokenizer.backend_tokenizer.to_str()) == json.loads(
        TOKENIZER.backend_tokenizer.to_str()
    )
    assert tokenizer.padding_side == "left"


def test_a_tokenizer_saved_with_truncation_serves_many_threads_whole_prompts(copies):
    tokenizer = planted_models("llama").tokenizer
    tokenizer.backend_tokenizer.enable_truncation(3)
    tokenizer.backend_tokenizer.enable_padding(length=16)
    for copy in copies:
        tokenizer.save_pretrained(copy)
    pair = load_pair(cpu(*copies))
    prompts, faults = harmful_prompts(20), []
    expected = [TOKENIZER(prompt)["input_ids"] for prompt in prompts]

    def work():
        try:
            for _ in range(20):
                found = [list(encode(pair, p, PromptFormat("raw"))) for p in prompts]
                assert found == expected
        except BaseException as error:
            faults.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults


def test_the_shorter_context_of_the_two_models_holds(tmp_path):
    places = [
        save(random_model("llama", 0), tmp_path / "s"),
        save(random_model("llama", 1, max_position_embeddings=32), tmp_path / "t"),
    ]
    assert load_pair(cpu(*places)).context_length == 32


# -- progress -----------------------------------------------------------------------------------


def test_progress_only_rises_and_ends_at_the_whole(planted_folders):
    told = []
    load_pair(cpu(*planted_folders), lambda what, share: told.append((what, share)))
    shares = [share for _, share in told]
    assert shares == sorted(shares) and shares[0] >= 0.0 and shares[-1] == 1.0
    stages = list(dict.fromkeys(what for what, _ in told))
    assert stages[0] == "comparing the two models"
    assert [stage.split()[0] for stage in stages[1:]] == ["full", "reading", "reading"]
    assert len(told) > 20


def test_two_loads_at_once_tell_their_own_progress_and_leave_no_hook(planted_folders):
    told, pairs, here = {}, [], threading.get_ident()
    before = transformers_logging.set_tqdm_hook(None)
    transformers_logging.set_tqdm_hook(before)

    def work(number):
        def progress(what, share):
            told.setdefault(number, []).append((threading.get_ident(), share))

        pairs.append(load_pair(cpu(*planted_folders), progress if number else None))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(pairs) == 3 and set(told) == {1, 2}
    for calls in told.values():
        assert len({thread for thread, _ in calls}) == 1 and calls[0][0] != here
        assert [share for _, share in calls] == sorted(share for _, share in calls)
    assert transformers_logging.set_tqdm_hook(before) is before


# -- the machine --------------------------------------------------------------------------------


def test_auto_takes_what_is_there(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto") == choose_device("cpu") == choose_device("cpu:0") == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert (choose_device("auto"), choose_device("cuda:1")) == ("cuda", "cuda:1")
    assert choose_dtype("auto", "cpu") == torch.float32
    monkeypatch.setattr("dapa.model.machine.half_is_faster", lambda: True)
    assert choose_dtype("auto", "cpu", LARGE) == torch.bfloat16
    assert choose_dtype("auto", "cpu", LARGE - 1) == torch.float32
    assert choose_dtype("float32", "cpu", LARGE) == torch.float32
    monkeypatch.setattr("dapa.model.machine.half_is_faster", lambda: False)
    assert choose_dtype("auto", "cpu", LARGE) == torch.float32
    assert choose_dtype("auto", "cuda") == torch.bfloat16
    assert choose_dtype("float16", "cpu") == torch.float16


def test_which_precision_is_faster_is_measured_once_for_a_processor(monkeypatch, tmp_path):
    monkeypatch.setenv("DAPA_CACHE", str(tmp_path / "cache"))
    asked = []

    def measured(answer):
        monkeypatch.setattr(machine, "_half_measured", lambda: asked.append(answer) or answer)
        machine.half_is_faster.cache_clear()
        return machine.half_is_faster()

    assert measured(True)
    assert measured(False), "as it was found first"
    assert asked == [True]
    (kept,) = (tmp_path / "cache").iterdir()
    kept.write_bytes(b"\xff")
    assert not measured(False), "what cannot be read is measured anew"
    monkeypatch.setattr(machine, "processor", lambda: "another")
    assert measured(True), "another processor has its own"
    kept.unlink()
    monkeypatch.setenv("DAPA_CACHE", str(kept / "beneath a file"))
    kept.write_text("")
    assert measured(True)
    assert not measured(False), "nowhere to keep it"
    machine.half_is_faster.cache_clear()


def test_a_containers_limit_counts_as_the_memory(monkeypatch, tmp_path):
    monkeypatch.setattr(machine, "_CGROUP", tmp_path)
    free = free_memory("cpu")
    assert free > 2**20
    (tmp_path / "memory.current").write_text("700\n")
    (tmp_path / "memory.stat").write_text("anon 500\ninactive_file 150\n")
    (tmp_path / "memory.max").write_text("1000\n")
    assert free_memory("cpu") == 450
    (tmp_path / "memory.max").write_text("max\n")
    assert free_memory("cpu") > 2**20


def test_the_toy_pair_loads_and_its_gates_differ(toy_pair):
    assert toy_pair.family.model_type == "llama" and toy_pair.n_layers == 12
    assert toy_pair.units("gate")
