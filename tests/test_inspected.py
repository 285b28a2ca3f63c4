"""What is inspected is what is loaded: codes, keys, adapters, ties, sizes and arithmetic."""

import json
import struct

import folders
import pytest
import torch
from safetensors.torch import save_file
from support import TOKENIZER, planted_models, random_model

from dapa.core.records import Mask, PairError, Unit
from dapa.model import digests
from dapa.model.adapted import open_checkpoint
from dapa.model.architectures import FAMILIES
from dapa.model.compatibility import check
from dapa.model.decode.generation import Row, complete
from dapa.model.decode.sampling import Decoding
from dapa.model.pair_loading import load_pair
from dapa.model.spec import PairSpec

GATE = "model.layers.2.mlp.gate_proj.weight"


@pytest.fixture
def copies(planted_folders, tmp_path):
    """Private copies of the planted student and teacher."""
    return [folders.copy_of(folder, tmp_path / folder.name) for folder in planted_folders]


def report_of(copies):
    report = check(*(open_checkpoint(str(copy)) for copy in copies))
    json.dumps(report.as_dict(), allow_nan=False)
    return report


def found(copies, what):
    (finding,) = [f for f in report_of(copies).findings if f.what == what]
    assert "\n" not in finding.why
    return finding


def spec(copies, memory="full"):
    return PairSpec(str(copies[0]), str(copies[1]), "", "float32", "cpu", memory)


def blocked(copies, *words):
    """Report and load give the same one line."""
    with pytest.raises(PairError) as caught:
        report_of(copies).raise_if_blocked()
    with pytest.raises(PairError) as loaded:
        load_pair(spec(copies))
    message = str(caught.value)
    assert str(loaded.value) == message and "\n" not in message and len(message) < 400
    assert all(word in message for word in words), message


# -- codes --------------------------------------------------------------------------------------


def as_fp8(content):
    for key in [key for key in content if "proj" in key]:
        scale = content[key].float().abs().max().clamp_min(1e-6) / 448
        content[key] = (content[key].float() / scale).to(torch.float8_e4m3fn)
        content[key.replace(".weight", ".weight_scale")] = scale.reshape(1)


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({"compression_config": {"quant_method": "compressed-tensors", "format": "pack"}},
         "compressed-tensors (pack)"),
        ({"quantization_config": {"quant_method": "gptq", "bits": 4}}, "gptq"),
        ({"quantization_config": {"load_in_4bit": True}}, "bitsandbytes 4 bit"),
        ({"quantization": {"group_size": 64, "bits": 4}}, "4-bit codes"),
        ({"quant_config": {"w_bit": 4, "version": "GEMM"}}, "4-bit codes"),
        ({"text_config": {"quantization_config": {"quant_method": "awq"}}}, "awq"),
    ],
)  # fmt: skip
def test_every_known_block_of_a_quantiser_blocks_and_is_named(copies, config, named):
    folders.config(copies[1], **config)
    blocked(copies, "teacher quantised", named, "give the unquantised checkpoint")


@pytest.mark.parametrize(
    ("file", "content", "named"),
    [
        ("quantize_config.json", {"bits": 4, "group_size": 128}, "4-bit codes"),
        ("hf_quant_config.json", {"quantization": {"quant_algo": "FP8"}}, "FP8"),
    ],
)
def test_a_quantisers_own_file_blocks_too(copies, file, content, named):
    (copies[0] / file).write_text(json.dumps(content))
    blocked(copies, "student quantised", named)


def test_raw_codes_block_though_nothing_names_them(copies):
    for copy in copies:
        folders.tensors(copy, as_fp8)
    blocked(copies, "codes of an unnamed method", "as F8_E4M3")


@pytest.mark.parametrize("suffix", ["qweight", "qzeros", "SCB", "weight_packed", "weight.absmax"])
def test_tensors_that_only_codes_have_block(copies, suffix):
    name = GATE.replace("weight", suffix)
    folders.tensors(copies[1], lambda content: content.update({name: torch.zeros(2)}))
    blocked(copies, "teacher quantised", name)


# -- keys and adapters --------------------------------------------------------------------------


def test_keys_that_the_model_does_not_use_are_told_rotary_buffers_apart(copies):
    extra = {
        "model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(2),
        "model.layers.0.self_attn.sinks": torch.zeros(2),
        "value_head.weight": torch.zeros(2),
    }
    folders.tensors(copies[0], lambda content: content.update(list(extra.items())[:1]))
    assert not [f for f in report_of(copies).findings if f.what == "student tensors"]
    folders.tensors(copies[0], lambda content: content.update(extra))
    told = found(copies, "student tensors")
    assert told.level == "warns" and "sinks and 1 more of its" in told.why


def test_names_under_a_wrapper_are_told_as_that(copies):
    def wrapped(content):
        for key in list(content):
            content["_orig_mod." + key] = content.pop(key)

    for copy in copies:
        folders.tensors(copy, wrapped)
    blocked(copies, "named under _orig_mod. (torch.compile", "rename them")


def test_a_model_saved_without_its_head_is_told_as_that(copies):
    def bare(content):
        for key in list(content):
            content[key.removeprefix("model.")] = content.pop(key)
        content.pop("lm_head.weight")

    folders.tensors(copies[0], bare)
    blocked(copies, "named as those of a model without a head", "embed_tokens.weight for model.")


def adapter(folder):
    """Leave an adapter of full rank beside the weights."""
    content = {}
    for layer in range(4):
        name = f"base_model.model.model.layers.{layer}.mlp.gate_proj.lora_"
        content[name + "A.weight"] = torch.randn(2, 32)
        content[name + "B.weight"] = torch.randn(24, 2)
    save_file(content, folder / "adapter_model.safetensors", {"format": "pt"})
    told = {"peft_type": "LORA", "r": 2, "base_model_name_or_path": "gone", "target_modules": []}
    (folder / "adapter_config.json").write_text(json.dumps(told))


def test_an_adapter_beside_whole_weights_is_named_and_not_applied(copies, monkeypatch):
    plain = load_pair(spec(copies))
    adapter(copies[1])
    told = found(copies, "teacher adapter")
    assert told.level == "warns" and "(LORA)" in told.why and "not applied" in told.why
    for place in ("transformers.models.auto.auto_factory", "transformers.integrations.peft"):
        monkeypatch.setattr(f"{place}.is_peft_available", lambda *a, **k: True)
    pair = load_pair(spec(copies))
    ids = torch.tensor([[9, 14, 23]])
    assert torch.equal(pair.teacher(ids).logits, plain.teacher(ids).logits)
    assert pair.digest == plain.digest


# -- tied ---------------------------------------------------------------------------------------


def saved(model, place):
    model.save_pretrained(place)
    TOKENIZER.save_pretrained(place)
    return place


def test_tied_is_what_the_loaded_model_does(tmp_path):
    copies = [saved(random_model("llama", seed), tmp_path / str(seed)) for seed in (0, 1)]
    for copy in copies:
        folders.config(copy, tie_word_embeddings=True)
    told = found(copies, "student config")
    assert told.level == "warns" and "two different matrices" in told.why
    for memory in ("full", "lean:gate,head"):
        pair = load_pair(spec(copies, memory))
        assert not pair.tied and not open_checkpoint(str(copies[0])).tied
        (moved,) = complete(
            pair, [Row((9, 14, 23), Mask.of([Unit(0), Unit(-1, "head")]))], Decoding(4)
        )
        assert moved.new_ids
    assert load_pair(spec(copies)).report.differs["head"]


@pytest.mark.parametrize("kept", ["model.embed_tokens.weight", "lm_head.weight"])
def test_one_matrix_under_either_name_is_tied(tmp_path, kept):
    copies = []
    for seed in (0, 1):
        model = random_model("llama", seed, tie_word_embeddings=True)
        copies.append(saved(model, tmp_path / str(seed)))

        def renamed(content):
            content[kept] = content.pop("model.embed_tokens.weight")

        folders.tensors(copies[-1], renamed)
    for memory in ("full", "lean:gate,embeddings"):
        pair = load_pair(spec(copies, memory))
        assert pair.tied and all(open_checkpoint(str(copy)).tied for copy in copies)
        assert pair.report.differs["embeddings"] and "head" not in pair.report.differs


# -- sizes and headers --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"num_hidden_layers": 10**9}, "1,000,000,000 layers are promised"),
        ({"num_hidden_layers": -3}, "num_hidden_layers is -3"),
        ({"vocab_size": -1}, "vocab_size is -1"),
        ({"max_position_embeddings": 0}, "max_position_embeddings is 0"),
        ({"intermediate_size": 10**15}, "intermediate_size is 1000000000000000"),
    ],
)
def test_sizes_that_no_model_has_end_in_one_line(copies, setting, words):
    for copy in copies:
        folders.config(copy, **setting)
    blocked(copies, words, "check config.json")


def header(entry, length=None):
    """A weights file of one header and eight bytes."""
    text = json.dumps({"model.norm.weight": entry}).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + bytes(8)


@pytest.mark.parametrize(
    "content",
    [
        header({"dtype": "F32", "shape": [-2], "data_offsets": [0, 8]}),
        header({"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 8]}),
        header({"dtype": "F32", "shape": [2], "data_offsets": [0, 2**62]}),
        header({"dtype": "F32", "shape": [2], "data_offsets": [8, 0]}),
        header({"dtype": "F99", "shape": [2], "data_offsets": [0, 8]}),
        header({"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}, 2**62),
    ],
)
def test_headers_that_lie_end_in_one_line(copies, content):
    (copies[0] / "model.safetensors").write_bytes(content)
    with pytest.raises(PairError, match="not a whole safetensors file .*; download it again"):
        load_pair(spec(copies))


# -- arithmetic ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "what", "words"),
    [
        ({"rope_parameters": {"rope_theta": 1e6, "rope_type": "default"}}, "rope",
         "rope_theta is 1000000.0 in the student and"),
        ({"rms_norm_eps": 1e-3}, "norm epsilon", "rms_norm_eps is 0.001 in the student and 1e-"),
        ({"hidden_act": "gelu"}, "activation", "the student's MLPs use gelu, the teacher's silu"),
    ],
)  # fmt: skip
def test_a_difference_of_arithmetic_warns_with_its_consequence(copies, setting, what, words):
    folders.config(copies[0], **setting)
    told = found(copies, what)
    assert told.level == "warns" and words in told.why and "transplanted" in told.why


@pytest.mark.parametrize(
    ("family", "setting", "what"),
    [
        ("mistral", {"sliding_window": 16}, "sliding window"),
        ("qwen2", {"use_sliding_window": True, "max_window_layers": 1}, "sliding window"),
        ("llama", {"attention_bias": True}, "attention bias"),
        ("gemma", {"hidden_activation": "relu"}, "activation"),
    ],
)
def test_families_have_differences_of_their_own(tmp_path, family, setting, what):
    assert family in FAMILIES
    copies = planted_models(family).save(tmp_path)
    assert not [f for f in report_of(copies).findings if f.level == "warns"]
    folders.config(copies[1], **setting)
    told = [f for f in report_of(copies).findings if f.what == what]
    assert [f.level for f in told] == ["warns"]


# -- digest -------------------------------------------------------------------------------------


def parts(copies):
    return digests.pair_parts(*(open_checkpoint(str(copy)) for copy in copies), torch.float32)


CHANGES = {
    "config": lambda f: folders.config(
        f, rope_parameters={"rope_theta": 77.0, "rope_type": "default"}
    ),
    "generation config": lambda f: (f / "generation_config.json").write_text(
        '{"eos_token_id": [2, 5]}'
    ),
    "chat template": lambda f: (f / "chat_template.jinja").write_text("{{ messages }}"),
    "tokenizer": lambda f: (f / "tokenizer.json").write_text(
        (f / "tokenizer.json").read_text() + "\n"
    ),
    "weights": folders.nudge,
}


@pytest.mark.parametrize("what", CHANGES)
def test_whatever_decides_a_reply_changes_the_digest_and_is_named(copies, what):
    before = parts(copies)
    for copy in copies:
        CHANGES[what](copy)
    after = parts(copies)
    changed = {name for name in before if before[name] != after[name]}
    named = {f"student's {what}", f"teacher's {what}"}
    assert changed == ({"weights"} if what == "weights" else named)
    assert digests.joined(before) != digests.joined(after)


def test_what_decides_nothing_changes_no_digest(copies):
    for copy in copies:
        folders.config(copy)  # which takes nulls out
    before = parts(copies)
    for copy in copies:
        folders.config(copy, transformers_version="4.0", dtype="bfloat16")
        adapter(copy)
    assert parts(copies) == before
    assert digests.joined(before).endswith(":float32")


def test_other_libraries_are_another_digest(copies, monkeypatch):
    before = parts(copies)
    monkeypatch.setattr(digests.transformers, "__version__", "9.9")
    after = parts(copies)
    assert {n for n in before if before[n] != after[n]} == {"libraries"}
    assert "transformers 9.9" in after["libraries"]


def test_a_norm_in_a_large_file_escapes_no_digest(copies, monkeypatch):
    monkeypatch.setattr(digests, "_WHOLE", 1000)
    monkeypatch.setattr(digests, "_STRIDE", 20_000)
    monkeypatch.setattr(digests, "_SAMPLE", 64)
    before = parts(copies)
    folders.nudge(copies[0], "model.norm.weight")
    after = parts(copies)
    assert before["student's small weights"] != after["student's small weights"]


def test_a_loaded_pair_knows_its_parts(copies):
    pair = load_pair(spec(copies))
    assert pair.parts == parts(copies) and pair.digest == digests.joined(pair.parts)
