"""GGUF files: one file is a whole model, read as the numbers that its codes stand for."""

import shutil
from copy import deepcopy

import gguf
import numpy as np
import pytest
import torch
from support import TOKENIZER, generated, materialise, random_trio

from dapa.core.records import EMPTY, Mask, PairError, Unit
from dapa.model.adapted import open_checkpoint
from dapa.model.compatibility import check
from dapa.model.decode.generation import Row, complete
from dapa.model.decode.sampling import Decoding
from dapa.model.digests import digest_of, small_digest
from dapa.model.pair_loading import load_pair
from dapa.model.spec import PairSpec
from dapa.model.transplant import masked

IDS = torch.tensor([[9, 14, 23, 31, 8, 50], [40, 41, 42, 12, 7, 70]])
ARCHITECTURE = {"llama": gguf.MODEL_ARCH.LLAMA, "qwen2": gguf.MODEL_ARCH.QWEN2}


def turned(weight, heads):
    """Llama's query and key rows as llama.cpp orders them."""
    return weight.unflatten(0, (heads, 2, -1)).transpose(1, 2).flatten(0, 2)


def write(model, path, kind=gguf.GGMLQuantizationType.F32, words=True):
    """Write a plain model as a GGUF file; returns a copy that holds the file's numbers."""
    config = model.config
    name = config.model_type
    writer = gguf.GGUFWriter(path, name)
    writer.add_name("tiny")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_vocab_size(config.vocab_size)
    if words:
        tokens = sorted(TOKENIZER.get_vocab(), key=TOKENIZER.get_vocab().get)
        writer.add_tokenizer_model("llama")
        writer.add_token_list(tokens)
        writer.add_token_scores([-float(i) for i in range(len(tokens))])
        special = set(TOKENIZER.all_special_tokens)
        writer.add_token_types([3 if token in special else 1 for token in tokens])
        writer.add_eos_token_id(TOKENIZER.eos_token_id)
        writer.add_pad_token_id(TOKENIZER.pad_token_id)
        writer.add_chat_template(TOKENIZER.chat_template)
    names = gguf.get_tensor_name_map(ARCHITECTURE[name], config.num_hidden_layers)
    copy = deepcopy(model)
    for key, tensor in model.state_dict().items():
        stem, _, leaf = key.rpartition(".")
        if stem == "lm_head" and config.tie_word_embeddings:
            continue
        heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
        own = heads.get(stem.rpartition(".")[2]) if name == "llama" else None
        stored = (turned(tensor, own) if own else tensor).contiguous().numpy()
        coded = kind if tensor.dim() == 2 and tensor.shape[1] % 32 == 0 else None
        data, numbers = stored, tensor
        if coded is not None:
            data = gguf.quantize(stored, coded)
            numbers = torch.from_numpy(np.copy(gguf.dequantize(data, coded)))
            if own:
                numbers = numbers.unflatten(0, (own, -1, 2)).transpose(1, 2).flatten(0, 2)
        copy.get_parameter(key).copy_(numbers)
        writer.add_tensor(f"{names.get_name(stem)}.{leaf}", data, raw_dtype=coded)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return copy


def logits(model):
    with torch.inference_mode():
        return model(IDS).logits


@pytest.fixture(scope="module")
def trio():
    return random_trio("llama", intermediate_size=32)


@pytest.mark.parametrize("memory", ["full", "lean:gate"])
def test_two_files_make_a_pair_that_is_masked_as_any_other(trio, memory, tmp_path):
    kind = gguf.GGMLQuantizationType.Q8_0
    files = [tmp_path / f"{role}.gguf" for role in ("student", "teacher")]
    made = [
        write(model, file, kind)
        for model, file in zip((trio.student, trio.teacher), files, strict=True)
    ]
    assert not torch.equal(made[0].lm_head.weight, trio.student.lm_head.weight)
    pair = load_pair(PairSpec(*map(str, files), "", "float32", "cpu", memory))
    assert pair.report.compatible and pair.differs["gate"] == [0, 2]
    told = [f for f in pair.report.findings if f.what.endswith(" codes")]
    assert len(told) == 2 and all("GGUF (Q8_0)" in f.why for f in told)
    torch.testing.assert_close(logits(pair.student), logits(made[0]), atol=1e-5, rtol=1e-5)
    mask = Mask.of([Unit(0), Unit(2)])
    copied = materialise(deepcopy(made[0]), made[1], mask, pair.family)
    with torch.inference_mode(), masked(pair.plan([mask, EMPTY])):
        found = pair.student(IDS).logits
    torch.testing.assert_close(found[0], logits(copied)[0], atol=1e-4, rtol=1e-4)
    (row,) = complete(pair, [Row((9, 14, 23), mask)], Decoding(5))
    assert row.new_ids == generated(copied, (9, 14, 23), 5)
    assert pair.tokenizer.get_vocab().items() >= TOKENIZER.get_vocab().items()
    assert pair.tokenizer.chat_template == TOKENIZER.chat_template


def test_a_file_and_a_folder_of_another_family_make_a_pair_too(tmp_path):
    trio = random_trio("qwen2", tie_word_embeddings=True)
    folder = tmp_path / "one"
    folder.mkdir()
    write(trio.student, folder / "model.gguf", words=False)
    for place in (folder, tmp_path / "teacher"):
        TOKENIZER.save_pretrained(place)
    deepcopy(trio.teacher).save_pretrained(tmp_path / "teacher")
    pair = load_pair(PairSpec(str(folder), str(tmp_path / "teacher"), "", "float32", "cpu"))
    assert pair.tied and pair.differs["gate"] == [0, 2]
    torch.testing.assert_close(logits(pair.student), logits(trio.student), atol=1e-5, rtol=1e-5)
    (told,) = [f for f in pair.report.findings if f.what == "unequal quantisation"]
    assert "GGUF (F32)" in told.why and "plain numbers" in told.why


def test_what_is_no_gguf_or_not_one_is_refused_in_one_line(trio, tmp_path):
    file = tmp_path / "model.gguf"
    write(trio.student, file)
    spoiled = tmp_path / "spoiled.gguf"
    spoiled.write_bytes(b"no gguf at all" * 100)
    cases = {
        spoiled: "spoiled.gguf is not a whole GGUF file",
        tmp_path: "holds 2 GGUF files; name one",
    }
    for place, told in cases.items():
        with pytest.raises(PairError, match=told) as caught:
            open_checkpoint(str(place))
        assert "\n" not in str(caught.value)
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(PairError, match="download it again"):
        check(open_checkpoint(str(cut)), open_checkpoint(str(file)))


def test_without_its_package_a_file_is_refused_with_the_packages_name(trio, tmp_path, monkeypatch):
    write(trio.student, tmp_path / "model.gguf")
    monkeypatch.setattr("dapa.model.ggufs.is_gguf_available", lambda: False)
    with pytest.raises(PairError, match="pip install gguf"):
        open_checkpoint(str(tmp_path))


def test_every_tensor_of_a_large_file_decides_its_name(trio, tmp_path, monkeypatch):
    monkeypatch.setattr("dapa.model.digests._WHOLE", 0)
    write(trio.student, tmp_path / "a.gguf")
    shutil.copy(tmp_path / "a.gguf", tmp_path / "b.gguf")
    other = deepcopy(trio.student)
    other.model.layers[1].input_layernorm.weight[3] += 1.0
    write(other, tmp_path / "c.gguf")
    one, same, changed = (open_checkpoint(str(tmp_path / f"{x}.gguf")) for x in "abc")
    assert small_digest(one) == small_digest(same) != small_digest(changed)
    assert digest_of(one) != digest_of(same), "by the file's name, as safetensors"
