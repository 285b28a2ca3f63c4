"""Every family, tiny: masked equals copied weights, and nothing else that we do changes a token."""

from copy import deepcopy

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from support import (
    LAYERS,
    NEURONS,
    TOKENIZER,
    generated,
    random_trio,
    run_out,
    some,
)
from transformers import AutoConfig, AutoModelForImageTextToText
from zoo import WINDOW, ZOO

from dapa.core.records import EMPTY, OUTSIDE, Mask, SettingError, Unit
from dapa.localize.divergence.recording import Lens
from dapa.model.adapted import open_checkpoint
from dapa.model.architectures import FAMILIES
from dapa.model.compatibility import check
from dapa.model.decode.generation import Batch, Row
from dapa.model.decode.log_odds import refusal_log_odds
from dapa.model.decode.openers import find_openers
from dapa.model.decode.prefill import Prefiller
from dapa.model.decode.states import States
from dapa.model.families import submodule
from dapa.model.pair_loading import load_pair
from dapa.model.spec import PairSpec
from dapa.model.transplant import masked, watching

IDS = torch.tensor(
    [[9, 14, 23, 31, 8, 50, 51, 52, 53, 60], [40, 41, 42, 12, 7, 70, 71, 72, 73, 61]]
)
HEAD = (9, 14, 23, 40, 33)
PROMPTS = [(*HEAD, 41, 42, 12), (*HEAD, 33), (*HEAD, 5, 6, 28, 19, 77, 80, 10, 11)]
"""Of several lengths; the longest exceeds the window of those that slide."""


@pytest.fixture(scope="module", params=some())
def kin(request):
    """A random pair of each family."""
    return random_trio(request.param)


def some_masks(family):
    """Masks of each kind, of parts and of everything."""
    first, both = family.first, Mask.of([Unit(0, "mlp"), Unit(2, family.parts("attention")[0])])
    if family.mixture:  # which moves whole
        apart = [Mask.of([Unit(n, kind)]) for n, kind in enumerate(family.mixture[:3])]
        others = Mask(((Unit(1, "attention"), 0.5), (Unit(2, first), 1.0)))
        layer = Mask.of([Unit(1, "layer"), Unit(OUTSIDE, "embeddings")])
        return [EMPTY, Mask.of([Unit(0, first), Unit(2, first)]), *apart, others, both, layer]
    return [
        EMPTY,
        Mask.of([Unit(0, first), Unit(2, first)]),
        Mask(((Unit(1, "mlp"), 0.5), (Unit(2, first, (3, 9)), 1.0))),
        Mask(((Unit(2, "down", (2, 9)), 0.7), (Unit(0, "up", (0, 5)), 1.0))),
        both,
        Mask.of([Unit(1, "layer"), Unit(OUTSIDE, "embeddings")]),
    ]


def logits(trio, rows, ids=IDS):
    with torch.inference_mode(), masked(trio.pair.plan(rows)):
        return trio.pair.student(ids).logits


def plain(model, ids=IDS):
    with torch.inference_mode():
        return model(ids).logits


def test_every_family_is_tried():
    assert FAMILIES.keys() == {tried.model_type for tried in ZOO.values()}


def test_a_family_names_the_tensors_of_its_checkpoints(kin):
    tensors = kin.student.state_dict()
    family = kin.pair.family
    for site, module in kin.pair.sites.items():
        for part, weight in module.student.named_parameters():
            stored = family.found(site, part, tensors)
            assert torch.equal(stored.take(tensors[stored.name]), weight), (site, part)
            assert stored.shape(tuple(tensors[stored.name].shape)) == tuple(weight.shape)


def test_every_parameter_of_a_layer_belongs_to_a_site(kin):
    blocks, beside = submodule(kin.student, kin.pair.family.layers), kin.pair.family.beside
    inside = sum(
        p.numel() for n, p in blocks.named_parameters() if n.partition(".")[2] not in beside
    )
    whole = Mask.of([Unit(layer, "layer") for layer in range(LAYERS)])
    assert kin.pair.share(whole).parameters == inside


def test_no_mask_is_the_untouched_student_and_every_kind_is_its_copied_weights(kin):
    assert torch.equal(plain(kin.pair.student), plain(kin.student))
    assert torch.equal(plain(kin.pair.teacher), plain(kin.teacher))
    for kind in [*kin.pair.differs, "all"]:
        mask = Mask.of(kin.pair.units(kind))
        found, wanted = logits(kin, [mask] * 2), plain(kin.materialised(mask))
        assert not torch.equal(wanted, plain(kin.student)), kind
        torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4, msg=kind)
        assert torch.equal(found.argmax(-1), wanted.argmax(-1)), kind


def test_rows_of_other_masks_and_lengths_decode_as_transformers_decodes_copied_weights(kin):
    config = kin.student.config
    if ZOO[kin.pair.family.model_type].slides:
        window = getattr(config, "window_size", config.sliding_window)  # GPT-Neo's own word
        assert window == WINDOW < max(map(len, PROMPTS))
    rows = [
        Row(ids, mask, max_new_tokens=6) for mask in some_masks(kin.pair.family) for ids in PROMPTS
    ]
    batch = Batch(kin.pair)
    batch.admit(rows[:7])
    batch.step()
    batch.admit(rows[7:])
    run_out(batch)
    for row in rows:
        assert row.new_ids == generated(kin.materialised(row.mask), row.ids, 6), row.mask


def test_what_was_read_before_is_not_read_again_and_changes_no_token(kin):
    states = States(LAYERS, 10**9)
    family = kin.pair.family
    some = [
        *some_masks(family),
        Mask.of([Unit(2, "mlp")]),
        Mask.of([Unit(1, "mlp"), Unit(2, "mlp")]),
    ]
    work = 0.0
    for mask in some:
        batch = Batch(kin.pair, reader=Prefiller(kin.pair, states=states, head=HEAD))
        rows = [Row(ids, mask, max_new_tokens=5) for ids in PROMPTS]
        batch.admit(rows)
        run_out(batch)
        work += batch.work.reused
        for row in rows:
            assert row.new_ids == generated(kin.materialised(mask), row.ids, 5), mask
    assert work > 0


def test_taps_see_what_plain_hooks_on_an_unwrapped_model_see(kin):
    found, expected, handles = {}, {}, []

    def record(tap, module, args, kwargs, output):
        value = output[0] if isinstance(output, tuple) else output
        found[tap.role, tap.layer, tap.kind] = value.clone()

    with torch.inference_mode(), watching(record):
        kin.pair.student(IDS)
        kin.pair.teacher(IDS)
    family = kin.pair.family
    halves = {kind: (path, kinds) for path, kinds in family.fused for kind in kinds}
    for role, model in (("student", kin.student), ("teacher", kin.teacher)):
        places = {(OUTSIDE, kind): (model, path) for kind, path in family.ends}
        for layer, block in enumerate(submodule(model, family.layers)):
            paths = {"residual": "", "attention": family.attention, "mlp": family.mlp}
            paths |= {kind: halves.get(kind, (path,))[0] for kind, path in family.sites}
            places |= {(layer, kind): (block, path) for kind, path in paths.items()}
        for (layer, kind), (root, path) in places.items():

            def keep(module, args, output, key=(role, layer, kind)):
                value = output[0] if isinstance(output, tuple) else output
                if key[2] in halves:
                    _, kinds = halves[key[2]]
                    value = value.chunk(len(kinds), -1)[kinds.index(key[2])]
                expected[key] = value.clone()  # OLMo clamps in place

            handles.append(submodule(root, path).register_forward_hook(keep))
        plain(model)
    for handle in handles:
        handle.remove()
    tied = kin.student.config.tie_word_embeddings
    if tied and ("student", OUTSIDE, "head") not in found:
        expected = {key: x for key, x in expected.items() if key[2] != "head"}
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, atol=1e-5, rtol=1e-5, msg=str(key))


def test_the_lens_on_the_last_layer_reads_what_the_model_says(kin):
    last = []

    def record(tap, module, args, kwargs, output):
        if (tap.role, tap.layer, tap.kind) == ("student", LAYERS - 1, "residual"):
            last.append(output[0] if isinstance(output, tuple) else output)

    with torch.inference_mode(), watching(record):
        wanted = kin.pair.student(IDS).logits
        found = Lens(kin.pair, "total")(last[0].flatten(0, 1), "student")
    torch.testing.assert_close(found, wanted.flatten(0, 1), atol=1e-4, rtol=1e-4)


def test_log_odds_of_openers_are_those_of_separate_passes(kin):
    from test_openers import by_hand

    openers = find_openers(kin.pair)
    few = some_masks(kin.pair.family)[:2]
    found = refusal_log_odds(kin.pair, PROMPTS, few, openers=openers)
    wanted = [[by_hand(kin.materialised(m), ids, openers) for ids in PROMPTS] for m in few]
    assert found == pytest.approx(np.array(wanted), rel=1e-3, abs=1e-3)


@pytest.mark.parametrize("memory", ["full", "lean"])
def test_a_saved_pair_loads_whole_and_lean_and_says_the_same_tokens(kin, memory, tmp_path):
    family = kin.pair.family
    for role, model in (("student", kin.student), ("teacher", kin.teacher)):
        deepcopy(model).save_pretrained(tmp_path / role)
        TOKENIZER.save_pretrained(tmp_path / role)
    spec = PairSpec(
        str(tmp_path / "student"), str(tmp_path / "teacher"), "", "float32", "cpu", memory
    )
    pair = load_pair(spec)
    assert pair.family == family and pair.kept == (
        family.single if memory == "full" else (family.first,)
    )
    wanted = {k: v for k, v in kin.pair.differs.items() if k in pair.differs}
    assert pair.differs == wanted and pair.differs[family.first] == [0, 2]
    assert {k: list(v) for k, v in pair.report.differs.items()} == {
        kind: kin.pair.differs[kind] for kind in pair.kept if kind in kin.pair.differs
    }
    for mask in (EMPTY, Mask.of(pair.units(family.first))):
        rows = [Row(ids, mask, max_new_tokens=5) for ids in PROMPTS]
        batch = Batch(pair)
        batch.admit(rows)
        run_out(batch)
        for row in rows:
            assert row.new_ids == generated(kin.materialised(mask), row.ids, 5)


def test_a_family_is_no_larger_for_its_parts_being_views(kin):
    own = {
        p.untyped_storage().data_ptr(): p.untyped_storage().nbytes()
        for p in kin.pair.student.parameters()
    }
    assert sum(own.values()) == sum(p.numel() * p.element_size() for p in kin.student.parameters())
    widths = {m.neurons for s, m in kin.pair.sites.items() if s.module in ("up", "experts")}
    assert widths == {0 if kin.pair.family.mixture else NEURONS}


@pytest.mark.parametrize("model_type", [f for f in FAMILIES if FAMILIES[f].also])
def test_files_that_call_tensors_otherwise_are_read_all_the_same(model_type, tmp_path):
    trio, family = random_trio(model_type), FAMILIES[model_type]
    for role, model in (("student", trio.student), ("teacher", trio.teacher)):
        deepcopy(model).save_pretrained(tmp_path / role)
        TOKENIZER.save_pretrained(tmp_path / role)
        file = tmp_path / role / "model.safetensors"
        tensors = load_file(file)
        for ours, theirs in family.also:
            tensors = {
                theirs + n.removeprefix(ours) if n.startswith(ours) else n: t
                for n, t in tensors.items()
            }
        assert not any(n.startswith(ours) for n in tensors for ours, _ in family.also)
        save_file(tensors, file, {"format": "pt"})
    pair = load_pair(
        PairSpec(str(tmp_path / "student"), str(tmp_path / "teacher"), "", "float32", "cpu")
    )
    assert pair.differs == trio.pair.differs and pair.report.compatible
    assert torch.equal(plain(pair.student), plain(trio.student))


def test_a_family_without_gates_says_so_plainly():
    trio = random_trio("phi")
    with pytest.raises(SettingError, match="Phi's MLP has no gate; take up .* or mlp"):
        trio.pair.units("gate")
    with pytest.raises(SettingError, match="no gate"):
        trio.pair.validate(Mask.of([Unit(0)]))
    assert "gate" not in trio.pair.family.kinds and trio.pair.family.parts("mlp") == ("up", "down")


def test_the_report_of_a_family_without_gates_says_what_to_search(tmp_path):
    trio = random_trio("gpt2")
    for role, model in (("student", trio.student), ("teacher", trio.teacher)):
        deepcopy(model).save_pretrained(tmp_path / role)
        TOKENIZER.save_pretrained(tmp_path / role)
    report = check(*(open_checkpoint(str(tmp_path / role)) for role in ("student", "teacher")))
    (told,) = [f for f in report.findings if f.what == "no gates"]
    assert told.level == "warns" and "search up" in told.why and "or mlp" in told.why


VISION = dict(hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2)
_QWEN = {"depth": 1, "hidden_size": 32, "num_heads": 2, "out_hidden_size": 32, "patch_size": 14}
_PARTS = {"mrope_section": [2, 1, 1]}
WRAPPED = {
    "gemma3": ("gemma3_text", {"model_type": "siglip_vision_model"}, {}),
    "llava": ("llama", {"model_type": "clip_vision_model"}, {}),
    "mistral3": ("ministral3", {"model_type": "pixtral", "head_dim": 8}, {}),
    "smolvlm": ("llama", {}, {}),
    "qwen2_vl": (
        "qwen2",
        {**_QWEN, "embed_dim": 16},
        {"type": "mrope", "mrope_section": [1, 1, 2]},
    ),
    "qwen2_5_vl": ("qwen2", _QWEN, {"rope_type": "default", **_PARTS}),
    "qwen3_vl": (
        "qwen3",
        {**_QWEN, "num_position_embeddings": 16, "deepstack_visual_indexes": [0]},
        {"rope_type": "default", **_PARTS, "mrope_interleaved": True},
    ),
}
"""Wrapper -> the family of its text model, its vision config, and the text model's rope."""


@pytest.mark.parametrize("memory", ["full", "lean"])
@pytest.mark.parametrize("wrapper", WRAPPED)
def test_the_text_model_inside_a_multimodal_one_is_used_alone(wrapper, memory, tmp_path):
    text, vision, rope = WRAPPED[wrapper]
    trio = random_trio(text)
    for role, model in (("student", trio.student), ("teacher", trio.teacher)):
        told = model.config.to_dict()
        if rope:  # the wrapper has a class of its own for its text model
            theta = told["rope_parameters"]["rope_theta"]
            told |= {
                "model_type": f"{wrapper}_text",
                "rope_parameters": {**rope, "rope_theta": theta},
            }
        config = AutoConfig.for_model(
            wrapper,
            text_config=told,
            vision_config={**VISION, "image_size": 28, "patch_size": 14, **vision},
            tie_word_embeddings=False,
        )
        whole = AutoModelForImageTextToText.from_config(config).eval()
        whole.get_decoder().load_state_dict(model.model.state_dict())
        whole.lm_head.load_state_dict(model.lm_head.state_dict())
        torch.testing.assert_close(plain(whole), plain(model), atol=1e-5, rtol=1e-5)
        whole.save_pretrained(tmp_path / role)
        TOKENIZER.save_pretrained(tmp_path / role)
    places = [str(tmp_path / role) for role in ("student", "teacher")]
    pair = load_pair(PairSpec(*places, "", "float32", "cpu", memory))
    assert pair.family.model_type == text and pair.family.layers == "model.layers"
    told = [f for f in pair.report.findings if f.what.endswith("text model")]
    assert len(told) == 2 and all(wrapper in f.why and f.level == "fine" for f in told)
    assert not [f for f in pair.report.findings if f.level == "warns"]
    assert torch.equal(plain(pair.student), plain(trio.student))
    mask = Mask.of(pair.units("gate"))
    with torch.inference_mode(), masked(pair.plan([mask] * 2)):
        assert torch.equal(pair.student(IDS).logits, plain(trio.materialised(mask)))


@pytest.mark.parametrize("prefix", ["language_model.model.", "model.language_model."])
@pytest.mark.parametrize("memory", ["full", "lean"])
def test_a_text_model_saved_out_of_a_multimodal_one_may_keep_its_names(prefix, memory, tmp_path):
    trio = random_trio("gemma3_text")
    for role, model in (("student", trio.student), ("teacher", trio.teacher)):
        deepcopy(model).save_pretrained(tmp_path / role)
        TOKENIZER.save_pretrained(tmp_path / role)
        file = tmp_path / role / "model.safetensors"
        named = {
            prefix + n.removeprefix("model.") if n.startswith("model.") else n: t
            for n, t in load_file(file).items()
        }
        save_file(named, file, {"format": "pt"})
    places = [str(tmp_path / role) for role in ("student", "teacher")]
    pair = load_pair(PairSpec(*places, "", "float32", "cpu", memory))
    assert not [f for f in pair.report.findings if f.level != "fine"]
    assert torch.equal(plain(pair.student), plain(trio.student))
    mask = Mask.of(pair.units("gate"))
    with torch.inference_mode(), masked(pair.plan([mask] * 2)):
        assert torch.equal(pair.student(IDS).logits, plain(trio.materialised(mask)))
