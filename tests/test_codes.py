"""Quantised checkpoints: read as the numbers that their codes stand for, masked as any other."""

import json
from copy import deepcopy

import folders
import pytest
import torch
from adapters import save_wrapped
from encoded import QUANTISERS, gptq, quantise
from safetensors.torch import load_file, save_file
from support import TOKENIZER, materialise, random_trio

from dapa.core.records import EMPTY, Mask, PairError, Unit
from dapa.model.adapted import open_checkpoint
from dapa.model.architectures import inside_name
from dapa.model.codes import find_codes
from dapa.model.compatibility import check
from dapa.model.decode.generation import Row, complete
from dapa.model.decode.sampling import Decoding
from dapa.model.digests import digest_of
from dapa.model.pair_loading import load_pair
from dapa.model.spec import PairSpec
from dapa.model.transplant import masked

IDS = torch.tensor([[9, 14, 23, 31, 8, 50], [40, 41, 42, 12, 7, 70]])
SOME = [
    pytest.param(name, marks=[] if name in ("gptq", "bitsandbytes 4 bit") else [pytest.mark.full])
    for name in QUANTISERS
]


@pytest.fixture(scope="module")
def trio():
    return random_trio("llama")


def save(trio, folder, *quantised):
    """The pair's folders, some of them quantised; and the plain models with those numbers."""
    made = []
    for role, model, name in zip(
        ("student", "teacher"), (trio.student, trio.teacher), quantised, strict=True
    ):
        deepcopy(model).save_pretrained(folder / role)
        TOKENIZER.save_pretrained(folder / role)
        copy = deepcopy(model)
        if name:
            copy.load_state_dict(written(folder / role, name), strict=False)
        made.append(copy)
    return [str(folder / role) for role in ("student", "teacher")], made


def written(folder, name):
    """Quantise a folder in place; returns its tensors in numbers."""
    numbers = {}
    folders.tensors(folder, lambda content: numbers.update(quantise(content, name)))
    folders.config(folder, quantization_config=QUANTISERS[name][1])
    return numbers


def logits(model):
    with torch.inference_mode():
        return model(IDS).logits


@pytest.mark.parametrize("memory", ["full", "lean:gate,down"])
@pytest.mark.parametrize("name", SOME)
def test_codes_are_read_as_their_numbers_and_masked_as_any_weights(name, memory, trio, tmp_path):
    places, (ours, theirs) = save(trio, tmp_path, name, name)
    pair = load_pair(PairSpec(*places, "", "float32", "cpu", memory))
    assert pair.report.compatible and pair.differs["gate"] == [0, 2]
    told = [f for f in pair.report.findings if f.what.endswith(" codes")]
    assert len(told) == 2 and all(name.split()[0] in f.why.lower() for f in told)
    torch.testing.assert_close(logits(pair.student), logits(ours), atol=1e-5, rtol=1e-5)
    mask = Mask(((Unit(0), 1.0), (Unit(2, "gate", (0, 9)), 1.0), (Unit(1, "down"), 0.5)))
    copied = materialise(deepcopy(ours), theirs, mask, pair.family)
    with torch.inference_mode(), masked(pair.plan([mask, EMPTY])):
        found = pair.student(IDS).logits
    torch.testing.assert_close(found[0], logits(copied)[0], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found[1], logits(ours)[1], atol=1e-4, rtol=1e-4)
    (row,) = complete(pair, [Row((9, 14, 23), mask)], Decoding(4))
    assert len(row.new_ids) >= 1


def test_codes_of_a_text_model_inside_a_multimodal_one_are_read(tmp_path):
    places = [str(save_wrapped(tmp_path / role, "gemma3")) for role in ("student", "teacher")]
    folders.tensors(tmp_path / "teacher", lambda c: [c[n].mul_(1.5) for n in c if "gate_proj" in n])
    plain = load_pair(PairSpec(*places, "", "float32", "cpu"))
    numbers = {inside_name(n): w for n, w in written(tmp_path / "student", "gptq").items()}
    written(tmp_path / "teacher", "gptq")
    pair = load_pair(PairSpec(*places, "", "float32", "cpu"))
    assert pair.report.compatible and pair.family == plain.family
    assert pair.differs == plain.differs and pair.differs["gate"] == [0, 1, 2]
    for site, module in pair.sites.items():
        if site.module in ("gate", "q"):
            wanted = numbers[f"{pair.family.path(site)}.weight"]
            torch.testing.assert_close(module.student.weight, wanted)


def test_codes_beside_plain_weights_are_said_to_be_unequal(trio, tmp_path):
    for ours, theirs in ((None, "gptq"), ("gptq", "bitsandbytes 8 bit")):
        here = tmp_path / str(ours)
        places, made = save(trio, here, ours, theirs)
        report = check(*map(open_checkpoint, places))
        (told,) = [f for f in report.findings if f.what == "unequal quantisation"]
        assert report.compatible and told.level == "warns" and "rounding" in told.why
        assert report.differs["gate"] == (0, 1, 2), "the equal gate differs by rounding"
        pair = load_pair(PairSpec(*places, "", "float32", "cpu"))
        torch.testing.assert_close(logits(pair.teacher), logits(made[1]), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_gptq_of_other_widths(bits):
    weight = torch.randn(32, 64, generator=torch.Generator().manual_seed(0))
    tensors, numbers = gptq("a.b", weight, bits, 16)
    told = {"bits": bits}
    coded = find_codes("gptq", tensors)["a.b.weight"]
    torch.testing.assert_close(coded.numbers(tensors.__getitem__, told), numbers)
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    assert coded.shape(shapes, tensors.__getitem__, told) == (32, 64)
    with pytest.raises(PairError, match="3-bit codes; 2, 4 and 8 can be read"):
        coded.numbers(tensors.__getitem__, {"bits": 3})


def test_experts_in_mxfp4_are_what_transformers_makes_of_them(tmp_path):
    from transformers.integrations.mxfp4 import convert_moe_packed_tensors

    pair = random_trio("gpt_oss", hidden_size=32, intermediate_size=32)
    generator, wanted, places = torch.Generator().manual_seed(0), [], []
    for role, model in (("student", pair.student), ("teacher", pair.teacher)):
        deepcopy(model).save_pretrained(tmp_path / role)
        TOKENIZER.save_pretrained(tmp_path / role)
        copy = deepcopy(model)

        def encode(content, copy=copy):
            for name in [n for n in content if n.endswith(("gate_up_proj", "down_proj"))]:
                experts, inputs, outputs = content.pop(name).shape
                size = (experts, outputs, inputs // 32)
                blocks = torch.randint(0, 256, (*size, 16), generator=generator).to(torch.uint8)
                scales = torch.randint(121, 126, size, generator=generator).to(torch.uint8)
                content[f"{name}_blocks"], content[f"{name}_scales"] = blocks, scales
                numbers = convert_moe_packed_tensors(blocks, scales, dtype=torch.float32)
                copy.get_parameter(name).copy_(numbers)

        folders.tensors(tmp_path / role, encode)
        folders.config(tmp_path / role, quantization_config={"quant_method": "mxfp4"})
        wanted.append(copy)
        places.append(str(tmp_path / role))
    loaded = load_pair(PairSpec(*places, "", "float32", "cpu"))
    assert torch.equal(logits(loaded.student), logits(wanted[0]))
    assert torch.equal(logits(loaded.teacher), logits(wanted[1]))


def test_codes_without_their_scales_are_refused_in_one_line(trio, tmp_path):
    places, _ = save(trio, tmp_path, "gptq", "gptq")
    name = "model.layers.1.mlp.up_proj.scales"
    folders.tensors(tmp_path / "teacher", lambda content: content.pop(name))
    with pytest.raises(PairError, match=rf"{name} is not among its tensors") as caught:
        load_pair(PairSpec(*places, "", "float32", "cpu"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("method", ["aqlm", "hqq", "torchao", "quanto"])
def test_a_quantiser_without_a_reader_is_named_with_those_that_have_one(method, trio, tmp_path):
    places, _ = save(trio, tmp_path, None, "gptq")
    config = {**QUANTISERS["gptq"][1], "quant_method": method}
    folders.config(tmp_path / "teacher", quantization_config=config)
    (told,) = [f for f in check(*map(open_checkpoint, places)).findings if f.level == "blocks"]
    assert method in told.why and "no reader for that here (bitsandbytes, gptq, awq" in told.why


def test_what_a_quantiser_says_decides_the_pairs_name(trio, tmp_path):
    places, _ = save(trio, tmp_path, "gptq", "gptq")
    spec = PairSpec(*places, "", "float32", "cpu")
    before = load_pair(spec).digest
    path = tmp_path / "teacher" / "config.json"
    told = json.loads(path.read_text())
    told["quantization_config"]["checkpoint_format"] = "gptq_v2"
    path.write_text(json.dumps(told))
    assert load_pair(spec).digest != before


def test_every_file_of_codes_decides_the_weights_name_and_old_configs_are_understood(
    trio, tmp_path
):
    places, (ours, _) = save(trio, tmp_path, "bitsandbytes 4 bit", "bitsandbytes 4 bit")
    folders.config(tmp_path / "student", quantization_config={"load_in_4bit": True})
    folders.shard(tmp_path / "student", 40)
    opened = open_checkpoint(places[0])
    assert len(opened.files) == 40 and opened.codes == "bitsandbytes 4 bit"
    assert opened.shards.keys() == opened.shapes.keys() == trio.student.state_dict().keys()
    before = digest_of(opened)
    name = "model.layers.1.mlp.up_proj.weight.absmax"
    file = tmp_path / "student" / opened.packed.shards[name]
    content = load_file(file)
    content[name][0] *= 2
    save_file(content, file, {"format": "pt"})
    assert digest_of(open_checkpoint(places[0])) != before
    content[name][0] /= 2
    save_file(content, file, {"format": "pt"})
    pair = load_pair(PairSpec(*places, "", "float32", "cpu"))
    torch.testing.assert_close(logits(pair.student), logits(ours), atol=1e-5, rtol=1e-5)
