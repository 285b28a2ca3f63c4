"""LoRA adapters as student or teacher: as peft merges them, no second copy, refused in one line."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from adapters import ALL, by_hand, by_peft, save_base, save_wrapped
from safetensors.torch import load_file, save_file
from support import TOKENIZER, Trio, generated
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

from dapa.cli import main
from dapa.core.records import EMPTY, Mask, PairError, SettingError, Unit
from dapa.localize.divergence.divergence import divergence
from dapa.localize.weights import weight_map
from dapa.model.adapted import open_checkpoint
from dapa.model.compatibility import check
from dapa.model.copied import copied
from dapa.model.decode.generation import Decoding, Row, complete
from dapa.model.digests import pair_parts
from dapa.model.factored import Factored
from dapa.model.loading import load_weights
from dapa.model.lora import WEIGHTS, low_rank, read_lora
from dapa.model.memory import estimate_memory
from dapa.model.pair_loading import load_pair
from dapa.model.spec import PairSpec, short_name, split
from dapa.model.substitution import Substituted, given_back
from dapa.model.transplant import masked
from dapa.prompts.format import PromptFormat
from dapa.search.engine.workers.hiring import spec_of
from dapa.share.adapter import export_lora
from dapa.share.evidence import Evidence
from dapa.share.model import export_model

IDS = torch.tensor([[9, 14, 23, 31, 8, 40], [33, 5, 6, 28, 19, 12]])
MLP = ALL[4:]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return save_base(tmp_path_factory.mktemp("adapters") / "base")


@pytest.fixture(scope="module")
def adapter(base):
    """On every matrix."""
    return by_hand(base, base.parent / "everywhere")


def spec(student, teacher, memory="full", dtype="float32"):
    return PairSpec(str(student), str(teacher), "", dtype, "cpu", memory)


def on(base, adapter):
    return f"{base}+{adapter}"


def logits(model):
    with torch.inference_mode():
        return model(IDS).logits


# -- as peft -------------------------------------------------------------------------------------

AS_PEFT = {
    "plain": {},
    "rank-stabilised": {"use_rslora": True, "r": 3},
    "a pattern of modules": {"target_modules": r".*\.(1|2)\.mlp\.(gate|up)_proj"},
    "all-linear": {"target_modules": "all-linear"},
    "all but some": {"exclude_modules": ["k_proj", "model.layers.1.mlp.up_proj"]},
    "ranks and alphas of their own": {
        "rank_pattern": {"q_proj": 3, r"layers\.1\.mlp\.down_proj": 1},
        "alpha_pattern": {"up_proj": 5, r"^model\.layers\.0\.self_attn\.v_proj": 7},
    },
    "some layers": {"layers_to_transform": [0, 2], "target_modules": ["down_proj", "o_proj"]},
    "some layers by their pattern": {"layers_to_transform": 1, "layers_pattern": "layers"},
    "fan in, fan out": {"fan_in_fan_out": True},
    "head and embeddings low-rank": {"target_modules": ["lm_head", "embed_tokens", "q_proj"]},
    "head and embeddings whole": {"modules_to_save": ["lm_head", "embed_tokens"]},
}


@pytest.mark.parametrize("model_type", ["llama", "mistral", "qwen2"])
def test_logits_are_those_of_pefts_merged_model(tmp_path, model_type):
    base = save_base(tmp_path / "base", model_type)
    plain = logits(load_weights(open_checkpoint(str(base)), torch.float32, "cpu"))
    for number, (what, settings) in enumerate(AS_PEFT.items()):
        adapter = tmp_path / f"adapter{number}"
        merged = by_peft(base, adapter, **settings)
        ours = load_weights(open_checkpoint(on(base, adapter)), torch.float32, "cpu")
        torch.testing.assert_close(logits(ours), logits(merged), rtol=1e-4, atol=1e-4, msg=what)
        assert (logits(ours) - plain).abs().max() > 0.01, f"{what} changed nothing"


@pytest.mark.parametrize("bare", [False, True])
def test_an_adapter_of_turned_matrices_is_turned_whatever_the_file_calls_them(bare, tmp_path):
    """GPT-2 stores (inputs, outputs); the official file leaves the first word of its names out."""
    base = save_base(tmp_path / "base", "gpt2")
    if bare:
        file = base / "model.safetensors"
        named = {n.removeprefix("transformer."): t for n, t in load_file(file).items()}
        save_file(named, file, {"format": "pt"})
    for number, targets in enumerate((["c_attn"], ["c_proj"], "all-linear")):
        adapter = tmp_path / f"adapter{number}"
        merged = by_peft(base, adapter, target_modules=targets, fan_in_fan_out=True)
        ours = load_weights(open_checkpoint(on(base, adapter)), torch.float32, "cpu")
        torch.testing.assert_close(logits(ours), logits(merged), rtol=1e-4, atol=1e-4)
        memory, kind = ("full", "qkv") if number == 0 else ("lean:o", "o")
        assert load_pair(spec(base, on(base, adapter), memory)).differs[kind] == [0, 1, 2]


ON_WRAPPERS = {
    "a list": ["q_proj", "v_proj", "gate_proj"],  # the vision tower's too
    "a pattern of the wrapper's names": r"(?:.*?(?:language|text).*?mlp.*?(?:gate_proj|up_proj))",
    "all-linear": "all-linear",
}


@pytest.mark.parametrize("wrapper", ["gemma3", "qwen2_5_vl"])
def test_an_adapter_made_on_a_multimodal_model_is_read_for_its_text_model(wrapper, tmp_path):
    from peft import LoraConfig, get_peft_model

    base = save_wrapped(tmp_path / "base", wrapper)
    for number, (what, targets) in enumerate(ON_WRAPPERS.items()):
        model = AutoModelForImageTextToText.from_pretrained(base, dtype=torch.float32)
        made = get_peft_model(model, LoraConfig(r=2, lora_alpha=3, target_modules=targets))
        torch.manual_seed(number)
        for name, weight in made.named_parameters():
            if "lora_" in name:
                torch.nn.init.normal_(weight, std=0.2)
        adapter = tmp_path / f"adapter{number}"
        made.save_pretrained(adapter)
        merged = made.merge_and_unload().eval()
        ours = load_weights(open_checkpoint(on(base, adapter)), torch.float32, "cpu")
        torch.testing.assert_close(logits(ours), logits(merged), rtol=1e-4, atol=1e-4, msg=what)
        pair = load_pair(spec(base, on(base, adapter)))
        assert pair.report.compatible and pair.differs["gate"] == [0, 1, 2]


@pytest.mark.parametrize("base", ["gemma3", "qwen2_5_vl", "gpt2 without its first word"])
def test_an_exported_adapter_is_named_as_peft_finds_its_modules(base, tmp_path):
    from peft import PeftModel

    wrapped = not base.startswith("gpt2")
    for role, factor in (("student", 1.0), ("teacher", 1.01)):
        folder = tmp_path / role
        _ = save_wrapped(folder, base) if wrapped else save_base(folder, "gpt2")
        content = load_file(folder / "model.safetensors")
        named = {
            n.removeprefix("transformer."): t * factor if ".1." in n and t.dim() == 2 else t
            for n, t in content.items()
        }
        save_file(named, folder / "model.safetensors", {"format": "pt"})
    pair = load_pair(spec(tmp_path / "student", tmp_path / "teacher"))
    mask = Mask.of([Unit(1, pair.family.first), Unit(1, "o")])
    made = export_lora(pair, Evidence(mask), tmp_path / "lora")
    kind = AutoModelForImageTextToText if wrapped else AutoModelForCausalLM
    whole = kind.from_pretrained(tmp_path / "student", dtype=torch.float32)
    theirs = PeftModel.from_pretrained(whole, made.folder)
    adapted = open_checkpoint(on(tmp_path / "student", made.folder))
    with torch.inference_mode(), masked(pair.plan([mask] * len(IDS))):
        wanted = pair.student(IDS).logits
    assert not torch.equal(wanted, logits(pair.teacher))
    torch.testing.assert_close(logits(theirs), wanted, atol=1e-4, rtol=1e-4)
    ours = load_weights(adapted, torch.float32, "cpu")
    torch.testing.assert_close(logits(ours), wanted, atol=1e-4, rtol=1e-4)


def test_our_code_needs_no_peft():
    for file in (Path(__file__).parent.parent / "dapa").rglob("*.py"):
        text = file.read_text(encoding="utf-8")
        assert "import peft" not in text and "from peft" not in text, file


def test_an_adapter_that_stands_alone_finds_its_base_by_its_config(base, adapter, tmp_path):
    alone = logits(load_weights(open_checkpoint(str(adapter)), torch.float32, "cpu"))
    named = logits(load_weights(open_checkpoint(on(base, adapter)), torch.float32, "cpu"))
    assert torch.equal(alone, named)
    shutil.copytree(base, tmp_path / "near" / "base")
    moved = by_hand(base, tmp_path / "near" / "it", told={"base_model_name_or_path": "../base"})
    assert torch.equal(
        logits(load_weights(open_checkpoint(str(moved)), torch.float32, "cpu")), alone
    )


def test_adapters_stack(base, adapter, tmp_path):
    first = open_checkpoint(on(base, adapter))
    merged = load_weights(first, torch.float32, "cpu")
    merged.save_pretrained(tmp_path / "merged")
    TOKENIZER.save_pretrained(tmp_path / "merged")
    second = by_hand(base, tmp_path / "second", MLP, [1], seed=5)
    stacked = open_checkpoint(f"{base}+{adapter}+{second}")
    flat = open_checkpoint(on(tmp_path / "merged", second))
    loaded = (load_weights(one, torch.float32, "cpu") for one in (stacked, flat))
    torch.testing.assert_close(*map(logits, loaded))


# -- the mask is the copied weights ----------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("memory", ["full", "lean:all"])
def test_masked_is_materialised(base, adapter, memory, dtype):
    kind = getattr(torch, dtype)
    pair = load_pair(spec(base, on(base, adapter), memory, dtype))
    copies = [load_weights(open_checkpoint(n), kind, "cpu") for n in (str(base), on(base, adapter))]
    trio = Trio(pair, *copies)
    for mask in (Mask.of(pair.units("all")), Mask.of([Unit(1, "mlp"), Unit(2, "q")]), EMPTY):
        copied = trio.materialised(mask)
        with torch.inference_mode(), masked(pair.plan([mask] * 2)):
            assert torch.equal(pair.student(IDS).logits, logits(copied))
        (row,) = complete(pair, [Row(tuple(IDS[0].tolist()), mask)], Decoding(8))
        assert row.new_ids == generated(copied, row.ids, 8)
    if memory == "full":
        assert torch.equal(logits(pair.teacher), logits(copies[1]))


@pytest.mark.parametrize("swapped", [False, True])
def test_only_what_an_adapter_changes_is_held_twice(base, tmp_path, swapped):
    adapter = by_hand(base, tmp_path / "some", ("gate_proj", "o_proj"), [0, 2])
    sides = (str(base), on(base, adapter))
    pair = load_pair(spec(*(reversed(sides) if swapped else sides)))
    ours, theirs = (dict(m.named_parameters()) for m in (pair.student, pair.teacher))
    apart = {name for name, weight in theirs.items() if weight.data_ptr() not in
             {w.data_ptr() for w in ours.values()}}  # fmt: skip
    assert apart == {
        f"model.layers.{layer}.{part}.weight"
        for layer in (0, 2)
        for part in ("mlp.gate_proj", "self_attn.o_proj")
    }
    extra = sum(theirs[name].nbytes for name in apart)
    whole = sum(w.nbytes for w in theirs.values())
    assert pair.weight_bytes <= whole + extra + 4096  # buffers: rotary frequencies
    told = estimate_memory(*map(open_checkpoint, sides), "full", torch.float32, "cpu")
    assert (told.student, told.teacher) == (whole, extra)


def test_lean_memory_reads_the_sites_asked_for_and_nothing_else(base, adapter, monkeypatch):
    from dapa.model.adapted import Adapted

    asked = set()
    real = Adapted.tensor
    monkeypatch.setattr(Adapted, "tensor", lambda self, name: asked.add(name) or real(self, name))
    pair = load_pair(spec(base, on(base, adapter), "lean:gate"))
    assert not pair.whole and {name.split(".")[-2] for name in asked} == {"gate_proj"}
    told = estimate_memory(
        *map(open_checkpoint, (str(base), on(base, adapter))), "lean:gate", torch.float32, "cpu"
    )
    gates = sum(m.weight.nbytes for s, m in pair.sites.items() if s.module == "gate")
    assert told.lean == gates


# -- beside its base, where memory is short --------------------------------------------------------


@pytest.fixture(scope="module")
def aside(base, adapter):
    """The same pair twice: the adapter merged once, and beside its base."""
    return [load_pair(spec(base, on(base, adapter), memory)) for memory in ("full", "low-rank")]


NEAR = {"rtol": 1e-4, "atol": 1e-4}
OF_A_MASK = {
    "a layer": Mask.of([Unit(1, "layer")]),
    "heads": Mask.of([Unit(1, "heads", (0, 2)), Unit(2, "kv", (0, 1))]),
    "blocks": Mask.of([Unit(0, "gate", (3, 17)), Unit(2, "down", (5, 20))]),
    "a strength": Mask.of([Unit(1, "mlp")], 0.4),
    "a rank": Mask.of([Unit(1, "up", rank=1)]),
    "everything": "all",
}


@pytest.mark.parametrize("what", OF_A_MASK)
def test_an_adapter_beside_its_base_moves_what_merged_weights_move(aside, what):
    said = []
    for pair in aside:
        mask = OF_A_MASK[what] if what != "everything" else Mask.of(pair.units("all"))
        with torch.inference_mode(), masked(pair.plan([mask, EMPTY])):
            said.append(pair.student(IDS).logits)
    torch.testing.assert_close(*said, **NEAR)
    assert torch.equal(said[0][1], said[1][1]), "the student's row is the student, bit for bit"
    assert not torch.equal(said[0][0], logits(aside[0].student)[0])
    made = [
        {(site, name): weight for site, strength in pair.resolve(mask).items()
         for name, weight in copied(pair.sites[site], strength).items()}
        for pair in aside
    ]  # fmt: skip
    assert made[0].keys() == made[1].keys()
    for key, weight in made[0].items():
        torch.testing.assert_close(weight, made[1][key], **NEAR)


def test_a_teacher_beside_its_base_runs_whole_and_holds_no_second_matrix(base, adapter, aside):
    merged, pair = aside
    torch.testing.assert_close(logits(merged.teacher), logits(pair.teacher), **NEAR)
    assert pair.whole and pair.differs == merged.differs
    factors = 4 * sum(tensor.numel() for tensor in load_file(adapter / WEIGHTS).values())
    one = sum(weight.nbytes for weight in pair.student.parameters())
    assert pair.weight_bytes <= one + factors + 4096 < merged.weight_bytes
    told = pair.memory
    assert (told.mode, told.held, told.beside) == ("low-rank", one + factors, factors)
    assert "as an adapter beside it" in told.sentence
    assert pair.digest != merged.digest and pair.parts["adapter"] == "beside its base"
    assert spec_of(pair).memory == "low-rank" and spec_of(merged).memory == "full"


@pytest.mark.parametrize("what", ["a layer", "heads", "a rank", "everything"])
def test_a_model_exported_beside_the_base_is_what_the_mask_showed(aside, what, tmp_path):
    files = []
    for number, pair in enumerate(aside):
        mask = OF_A_MASK[what] if what != "everything" else Mask.of(pair.units("all"))
        folder = tmp_path / str(number)
        export_model(pair, Evidence(mask), folder)
        files.append(load_file(folder / "model.safetensors"))
        plain = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        with torch.inference_mode(), masked(pair.plan([mask] * len(IDS))):
            shown = pair.student(IDS).logits
        torch.testing.assert_close(logits(plain.eval()), shown, **NEAR)
        assert not torch.equal(shown, logits(pair.student))
    assert files[0].keys() == files[1].keys()
    for name, weight in files[0].items():
        torch.testing.assert_close(weight, files[1][name], **NEAR)


def test_maps_and_what_stands_in_agree_beside_the_base(aside):
    found = []
    for pair in aside:
        mask = Mask.of([Unit(1, "mlp"), Unit(0, "gate", (0, 8))])
        view = Substituted(pair, "teacher", given_back(pair, mask), "back")
        with torch.inference_mode(), view.applied():
            found.append(view.student(IDS).logits)
    torch.testing.assert_close(*found, **NEAR)
    maps = [divergence(pair, ["how do i poison it"], PromptFormat(), "l2") for pair in aside]
    assert np.nanmax(maps[0].values) > 0.01, "the map shows something"
    np.testing.assert_allclose(maps[0].values, maps[1].values, rtol=1e-3, atol=1e-4)


def test_stacked_adapters_lie_beside_their_base_together(base, adapter, tmp_path):
    second = by_hand(base, tmp_path / "second", MLP, [1], rank=3, seed=5)
    name = f"{base}+{adapter}+{second}"
    pair = load_pair(spec(base, name, "low-rank"))
    merged = load_weights(open_checkpoint(name), torch.float32, "cpu")
    torch.testing.assert_close(logits(pair.teacher), logits(merged), **NEAR)


@pytest.mark.parametrize("model_type", ["phi3", "gpt2"])
def test_what_a_family_parts_or_turns_is_merged_all_the_same(tmp_path, model_type):
    base = save_base(tmp_path / "base", model_type)
    names = ("down_proj", "gate_up_proj") if model_type == "phi3" else ("c_attn", "c_fc")
    adapter = by_hand(base, tmp_path / "adapter", names)
    if model_type == "gpt2":
        with pytest.raises(SettingError, match="use full or lean"):
            load_pair(spec(base, on(base, adapter), "low-rank"))
        return
    pair = load_pair(spec(base, on(base, adapter), "low-rank"))
    merged = load_weights(open_checkpoint(on(base, adapter)), torch.float32, "cpu")
    torch.testing.assert_close(logits(pair.teacher), logits(merged), **NEAR)
    assert isinstance(pair.layer("teacher", 0).mlp.down_proj, Factored)


def test_a_teacher_that_is_no_adapter_cannot_lie_beside_its_student(base, adapter, tmp_path):
    other = save_base(tmp_path / "other", seed=4)
    for student, teacher in ((base, other), (on(base, adapter), base)):
        with pytest.raises(SettingError, match="use full or lean"):
            load_pair(spec(student, teacher, "low-rank"))


def test_short_memory_takes_the_adapter_beside_before_it_takes_parts(base, adapter, monkeypatch):
    sides = [open_checkpoint(str(base)), open_checkpoint(on(base, adapter))]
    full = estimate_memory(*sides, "full", torch.float32, "cpu")
    for free, mode in (
        (full.held + full.work, "full"),
        (full.held + full.work - 1, "low-rank"),
        (full.student + full.beside + full.work - 1, "lean"),
    ):
        monkeypatch.setattr("dapa.model.memory.free_memory", lambda _, free=free: free)
        assert estimate_memory(*sides, "auto", torch.float32, "cpu").mode == mode


# -- what is told of it ----------------------------------------------------------------------------


def test_the_report_names_the_adapter_and_where_it_acts(base, tmp_path):
    told = {"converted_from": "/somewhere"}
    adapter = by_hand(base, tmp_path / "a", MLP, [1], told=told)
    report = check(open_checkpoint(str(base)), open_checkpoint(on(base, adapter)))
    assert report.compatible
    assert report.differs["gate"] == report.differs["down"] == (1,) and not report.differs["q"]
    lines = {f.level: f.why for f in report.findings if f.what == "teacher adapter"}
    assert "rank 2 on 3 matrices" in lines["fine"] and "gate_proj" in lines["fine"]
    assert "converted_from" in lines["warns"] and "not applied" in lines["warns"]


def test_lean_report_of_other_kinds_than_the_adapters_says_so(base, tmp_path):
    adapter = by_hand(base, tmp_path / "attention", ALL[:4])
    with pytest.raises(PairError, match="ask for other kinds of site"):
        load_pair(spec(base, on(base, adapter), "lean:gate"))


def test_weights_divergence_is_that_of_the_merged_weights(base, adapter, monkeypatch):
    monkeypatch.setattr("dapa.localize.weights._SLICE", 100)  # some rows at a time
    found = weight_map(open_checkpoint(str(base)), open_checkpoint(on(base, adapter)))
    merged = load_weights(open_checkpoint(on(base, adapter)), torch.float32, "cpu").state_dict()
    plain = load_file(base / "model.safetensors")
    for tensor in found.tensors:
        a, b = plain[tensor.name].double(), merged[tensor.name].double()
        assert tensor.relative == pytest.approx(float((b - a).norm() / a.norm()), abs=1e-6)
        if tensor.rank is not None:
            assert tensor.rank.value <= 2.01, "a difference of rank 2 has an effective rank of 2"


def test_the_digest_follows_the_adapters_weights_and_settings(base, tmp_path):
    def weights(folder):
        sides = (open_checkpoint(str(base)), open_checkpoint(on(base, folder)))
        return pair_parts(*sides, torch.float32)["weights"]

    adapter = by_hand(base, tmp_path / "a")
    first = weights(adapter)
    assert first == weights(adapter) and len(first.split(":")) == 3
    (adapter / "README.md").write_text("words")
    assert weights(adapter) == first
    assert weights(by_hand(base, tmp_path / "b", told={"lora_alpha": 5})) != first
    assert weights(by_hand(base, tmp_path / "c", seed=2)) != first
    assert weights(by_hand(base, tmp_path / "d", told={"lora_dropout": 0.3})) == first


def test_the_adapters_own_tokenizer_is_read_and_a_larger_one_refused(base, tmp_path):
    adapter = by_hand(base, tmp_path / "a")
    TOKENIZER.save_pretrained(adapter)
    assert open_checkpoint(on(base, adapter)).words == adapter
    more = type(TOKENIZER).from_pretrained(adapter)
    more.add_tokens(["<more>"])
    more.save_pretrained(adapter)
    with pytest.raises(PairError, match="brings a tokenizer of"):
        open_checkpoint(on(base, adapter))


# -- the name --------------------------------------------------------------------------------------


def test_names_are_split_at_the_plus_between_two_models(tmp_path):
    odd = tmp_path / "c++" / "my+model"
    odd.mkdir(parents=True)
    (tmp_path / "a").mkdir()
    assert split(str(odd)) == (str(odd), "")
    assert split(f"{odd}+{tmp_path / 'a'}") == (str(odd), str(tmp_path / "a"))
    assert split(f"{odd}+org/lora") == (str(odd), "org/lora")
    assert split("org/base@main+org/lora@v1") == ("org/base@main", "org/lora@v1")
    assert split("+") == ("+", "") and split("org/base+") == ("org/base+", "")
    assert short_name("org/base@main+org/lora@v1") == "base+lora"
    assert short_name(f"{odd}+{tmp_path / 'a'}") == "my+model+a"


def test_the_command_line_takes_base_and_adapter(base, adapter, capfd):
    with pytest.raises(SystemExit) as ended:
        main(["check", "--student", str(base), "--teacher", on(base, adapter), "--json", "-"])
    out, _ = capfd.readouterr()
    assert ended.value.code == 0
    assert any(f["what"] == "teacher adapter" for f in json.loads(out)["findings"])


# -- what is refused -------------------------------------------------------------------------------


def fails(name, *words):
    with pytest.raises(PairError) as error:
        open_checkpoint(str(name))
    line = str(error.value)
    assert "\n" not in line and len(line) < 600 and ";" in line, "one line with a next step"
    for word in words:
        assert word in line, line


REFUSED = {
    "DoRA": ({"use_dora": True}, "DoRA"),
    "QALoRA": ({"use_qalora": True}, "QALoRA"),
    "biases": ({"bias": "lora_only"}, "biases"),
    "a bias of its own": ({"lora_bias": True}, "lora_bias"),
    "repeated layers": ({"layer_replication": [[0, 2], [1, 3]]}, "layer_replication"),
    "rows of tokens": ({"trainable_token_indices": [3]}, "trainable_token_indices"),
    "activated LoRA": ({"alora_invocation_tokens": [3]}, "aLoRA"),
    "experts": ({"target_parameters": ["experts.gate_up_proj"]}, "target_parameters"),
    "PiSSA": ({"init_lora_weights": "pissa_niter_16"}, "pissa_niter_16", "converted"),
    "OLoRA": ({"init_lora_weights": "olora"}, "olora"),
    "LoftQ": ({"loftq_config": {"loftq_bits": 4}}, "LoftQ"),
    "IA3": ({"peft_type": "IA3"}, "IA3"),
    "AdaLoRA": ({"peft_type": "ADALORA"}, "ADALORA"),
    "prompts": ({"peft_type": "PROMPT_TUNING"}, "PROMPT_TUNING"),
    "no type": ({"peft_type": None}, "peft_type"),
    "classes": ({"task_type": "SEQ_CLS"}, "SEQ_CLS"),
    "sequences": ({"task_type": "SEQ_2_SEQ_LM"}, "SEQ_2_SEQ_LM"),
    "rank 0": ({"r": 0}, "r 0"),
    "rank a word": ({"r": "8"}, "'8'"),
    "alpha missing": ({"lora_alpha": None}, "lora_alpha"),
    "alpha endless": ({"lora_alpha": float("inf")}, "inf"),
    "alpha huge": ({"lora_alpha": 10**400}, "lora_alpha 1000"),
    "alpha of one endless": ({"alpha_pattern": {"q_proj": float("nan")}}, "alpha_pattern"),
    "rank huge": ({"r": 10**400}, "r 1000"),
    "layers no pattern": ({"layers_to_transform": [0], "layers_pattern": "("}, "layers_pattern"),
    "ranks a list": ({"rank_pattern": [8]}, "rank_pattern"),
    "another rank": ({"r": 3}, "rank 3"),
    "modules a number": ({"target_modules": 5}, "target_modules"),
    "modules no pattern": ({"target_modules": "("}, "target_modules", "pattern"),
    "fewer modules": ({"target_modules": ["q_proj"]}, "do not name"),
    "more modules": ({"target_modules": [*ALL, "lm_head"]}, "lacks lora_A of lm_head"),
    "other layers": ({"layers_to_transform": [0]}, "do not name"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_plain_lora_is_refused_by_its_name(base, tmp_path, case):
    told, *words = REFUSED[case]
    fails(on(base, by_hand(base, tmp_path / "a", told=told)), *words)


def test_spoiled_files_are_refused_in_one_line(base, tmp_path):
    def put(name, value):
        return lambda content: content.update({name: value})

    fails(on(base, by_hand(base, tmp_path / "a", tensors=dict.clear)), "without tensors")
    q = "base_model.model.model.layers.0.self_attn.q_proj.lora_"
    lost = by_hand(base, tmp_path / "b", tensors=lambda content: content.pop(f"{q}B.weight"))
    fails(on(base, lost), "lacks lora_B of model.layers.0.self_attn.q_proj")
    magnitude = put(f"{q}magnitude_vector", torch.ones(32))
    fails(on(base, by_hand(base, tmp_path / "c", tensors=magnitude)), "lora_magnitude_vector")
    strange = put("base_model.model.vision.proj.lora_A.weight", torch.ones(2, 4))
    fails(on(base, by_hand(base, tmp_path / "d", tensors=strange)), "vision.proj", "has not")
    small = put(f"{q}A.weight", torch.ones(2, 31))
    fails(on(base, by_hand(base, tmp_path / "e", tensors=small)), "[2, 31]", "[32, 32]")
    rows = put("base_model.model.lm_head.weight", torch.ones(5, 32))
    fails(on(base, by_hand(base, tmp_path / "f", tensors=rows)), "lm_head.weight is [5, 32]")
    cut = by_hand(base, tmp_path / "g")
    path = cut / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    fails(on(base, cut), "not whole")
    path.write_text("version https://git-lfs.github.com/spec/v1\n")
    fails(on(base, cut), "not whole")
    path.rename(cut / "adapter_model.bin")
    fails(on(base, cut), "pickled")
    (cut / "adapter_model.bin").unlink()
    fails(on(base, cut), "has no adapter_model.safetensors")
    (cut / "adapter_config.json").write_text("{")
    fails(on(base, cut), "no readable adapter_config.json")


def test_values_that_are_not_finite_are_named(base, tmp_path):
    def poison(content):
        next(iter(content.values()))[0, 0] = float("nan")

    bad = by_hand(base, tmp_path / "a", tensors=poison)
    with pytest.raises(PairError, match="NaN or infinite"):
        load_pair(spec(base, on(base, bad)))


def test_tied_ends_are_not_parted(tmp_path):
    base = save_base(tmp_path / "base", tie_word_embeddings=True)
    head = load_file(base / "model.safetensors")["model.embed_tokens.weight"]

    def with_head(value):
        name = "base_model.model.lm_head.weight"
        return lambda content: content.update({name: value})

    changed = by_hand(base, tmp_path / "a", tensors=with_head(head + 1))
    # transformers saves one matrix of two that are tied
    fails(on(base, changed), "lm_head", "modules_to_save", "ties")
    same = tmp_path / "same"
    by_hand(base, same)
    content = load_file(same / "adapter_model.safetensors")
    content["base_model.model.model.embed_tokens.weight"] = head
    save_file(content, same / "adapter_model.safetensors", {"format": "pt"})
    assert not open_checkpoint(on(base, same)).saved
    low = tmp_path / "low-rank"  # beside which PEFT saves the embeddings as they were
    by_peft(base, low, target_modules=["embed_tokens", "q_proj"])
    assert any("base_layer" in name for name in load_file(low / "adapter_model.safetensors"))
    fails(on(base, low), "changes model.embed_tokens", "ties")


def test_bases_that_are_missing_are_named_with_the_way_out(base, adapter, tmp_path):
    lost = by_hand(base, tmp_path / "a", told={"base_model_name_or_path": "org/gone"})
    fails(lost, "org/gone", "BASE+")
    fails(by_hand(base, tmp_path / "b", told={"base_model_name_or_path": None}), "names no base")
    fails(on("org/gone", lost), "org/gone")
    fails(on(base, base), "holds no adapter")
    fails(on(base, tmp_path / "nowhere"), "does not exist")
    endless = by_hand(base, tmp_path / "c", told={"base_model_name_or_path": "a" * 5000})
    with pytest.raises(PairError, match=r"cannot be a folder.*BASE\+") as told:
        open_checkpoint(str(endless))
    assert len(str(told.value)) < 1000


def test_an_adapter_that_stands_on_itself_is_refused_in_one_short_line(base, tmp_path, monkeypatch):
    for name in (".", str(tmp_path / "a")):
        itself = by_hand(base, tmp_path / "a", told={"base_model_name_or_path": name})
        monkeypatch.chdir(itself)
        with pytest.raises(PairError, match="stands on it in turn") as told:
            load_pair(spec(base, itself))
        assert len(str(told.value)) < 900
        monkeypatch.chdir(tmp_path)
        shutil.rmtree(itself)


def test_a_layers_pattern_may_hold_groups(base, tmp_path):
    told = {"layers_to_transform": [0], "layers_pattern": "(layers|h)"}
    fails(on(base, by_hand(base, tmp_path / "a", told=told)), "do not name")


def test_halves_and_quarters_of_numbers_are_read_and_whole_numbers_refused(base, tmp_path):
    def cast(dtype):
        return lambda content: content.update({k: t.to(dtype) for k, t in content.items()})

    eighth = by_hand(base, tmp_path / "a", tensors=cast(torch.float8_e4m3fn))
    lora = read_lora(eighth)
    part = next(iter(open_checkpoint(on(base, eighth)).differences.values()))
    assert low_rank(lora, part).dtype == torch.float32
    fails(on(base, by_hand(base, tmp_path / "b", tensors=cast(torch.int8))), "type I8")


# -- configs as they are found ---------------------------------------------------------------------

_OLD = {
    "enable_lora": None,
    "merge_weights": False,
    "inference_mode": True,
    "modules_to_save": None,
}
_NEW = {
    **{"alora_invocation_tokens": None, "arrow_config": None, "corda_config": None},
    **{"ensure_weight_tying": False, "eva_config": None, "exclude_modules": None},
    **{"layer_replication": None, "layers_pattern": None, "loftq_config": {}, "lora_bias": False},
    **{"megatron_config": None, "megatron_core": "megatron.core", "peft_version": "0.18.1"},
    **{"qalora_group_size": 16, "rank_pattern": {}, "alpha_pattern": {}, "revision": None},
    **{"target_parameters": None, "trainable_token_indices": None, "use_dora": False},
    **{"use_qalora": False, "use_rslora": False, "init_lora_weights": True},
}
FOUND = {
    "alpaca-lora's, peft 0.2": (_OLD, ("q_proj", "v_proj"), ""),
    "a Llama-2 chat tune on a relative folder": (_OLD, ("q_proj", "v_proj"), ""),
    "QLoRA on all seven": (_NEW, ALL, ""),
    "Mistral with the head": (_NEW, (*ALL, "lm_head"), ""),
    "unsloth over a 4-bit base": (
        {**_NEW, "auto_mapping": {"base_model_class": "LlamaForCausalLM", "unsloth_fixed": True}},
        ALL,
        "",
    ),
    "rank-stabilised LLaMA-Factory": ({**_NEW, "use_rslora": True}, ALL, ""),
    "converted from MLX": ({"converted_from": "/mlx", "lora_alpha": 20.0}, ALL, ""),
    "no task named": ({**_NEW, "task_type": None}, ("q_proj", "v_proj"), ""),
    "flan-t5": ({**_NEW, "task_type": "SEQ_2_SEQ_LM"}, ("q_proj",), "SEQ_2_SEQ_LM"),
    "a BERT classifier": (
        {**_NEW, "task_type": "SEQ_CLS", "modules_to_save": ["classifier", "score"]},
        ("q_proj",),
        "SEQ_CLS",
    ),
    "GLM's fused matrices": (
        {**_NEW, "target_modules": ["query_key_value", "dense_h_to_4h"]},
        ("q_proj",),
        "do not name",
    ),
    "DoRA": ({**_NEW, "use_dora": True}, ALL, "DoRA"),
    "a robot's policy": ({"peft_type": None, "base_model": "robot"}, ALL, "peft_type"),
    "Llama IA3": (
        {"peft_type": "IA3", "feedforward_modules": ["down_proj"]}, ("k_proj", "down_proj"), "IA3",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", FOUND)
def test_configs_found_in_the_world_are_read_or_refused_in_one_line(base, tmp_path, case):
    told, modules, word = FOUND[case]
    adapter = by_hand(base, tmp_path / "a", modules, told=told)
    if word:
        fails(on(base, adapter), word)
        return
    found = open_checkpoint(on(base, adapter))
    assert {name.split(".")[-2] for name in found.changed} == set(modules)
