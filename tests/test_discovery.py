"""Unknown architectures: found from the modules, proven on numbers, used only where confirmed."""

from copy import deepcopy

import pytest
import torch
from support import NEURONS, TOKENIZER, generated, random_model
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

from dapa.core.records import Mask, PairError
from dapa.model.adapted import open_checkpoint
from dapa.model.architectures import FAMILIES
from dapa.model.compatibility import check
from dapa.model.decode.generation import Row, complete
from dapa.model.decode.sampling import Decoding
from dapa.model.discovery import learn, structure_of
from dapa.model.pair_loading import load_pair
from dapa.model.spec import PairSpec
from dapa.planted.pairs import harmful_prompts
from dapa.search.settings import SearchSettings
from dapa.workbench import Workbench

SPLIT = ["llama", "gemma2", "qwen3", "cohere", "phi", "gpt_neox", "starcoder2"]


def tiny(model_type, seed=0, **extra):
    """A small random model of an architecture that has no row."""
    config = AutoConfig.for_model(
        model_type,
        vocab_size=len(TOKENIZER),
        hidden_size=32,
        intermediate_size=NEURONS,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        max_position_embeddings=64,
        initializer_range=0.3,
        tie_word_embeddings=False,
        pad_token_id=TOKENIZER.pad_token_id,
        eos_token_id=TOKENIZER.eos_token_id,
        bos_token_id=None,
        **extra,
    )
    torch.manual_seed(seed)
    return AutoModelForCausalLM.from_config(config).eval().requires_grad_(False)


@pytest.fixture
def unknown(tmp_path):
    """(student, teacher, their folders) of a family without a row; what is learnt is forgotten."""
    models = tiny("ernie4_5"), tiny("ernie4_5", 1)
    places = [tmp_path / role for role in ("student", "teacher")]
    for model, place in zip(models, places, strict=True):
        deepcopy(model).save_pretrained(place)
        TOKENIZER.save_pretrained(place)
    yield *models, places
    FAMILIES.pop("ernie4_5", None)


@pytest.mark.parametrize("model_type", SPLIT)
def test_what_is_found_of_a_known_family_is_what_its_row_says(model_type):
    found = structure_of(random_model(model_type, 0).to("meta"), model_type).family
    row = FAMILIES[model_type]
    for part in ("layers", "attention", "mlp", "embeddings", "norm", "head"):
        assert getattr(found, part) == getattr(row, part), part
    ours = dict(row.sites)
    assert {kind for kind, _ in found.sites} >= {k for k in ("gate", "up", "down") if k in ours}
    assert all(ours[kind] == path for kind, path in found.sites)


@pytest.mark.parametrize("model_type", ["glm_moe_dsa", "deepseek_v32"])
def test_attention_that_chooses_by_weights_of_its_own_is_refused_before_it_is_loaded(model_type):
    config = AutoConfig.for_model(
        model_type, vocab_size=99, hidden_size=32, intermediate_size=24, num_hidden_layers=3,
        num_attention_heads=4, num_key_value_heads=4, first_k_dense_replace=3,
    )  # fmt: skip
    config.mlp_layer_types = ["dense"] * 3
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    with pytest.raises(PairError, match="attention holds indexer"):
        structure_of(model, model_type)


def test_gate_and_up_are_told_apart_by_numbers_and_not_by_name():
    model = random_model("llama", 0)
    for layer in model.model.layers:
        mlp = layer.mlp
        mlp.forward = swapped.__get__(mlp)
    found = structure_of(model.to("meta"), "odd").family
    assert found.site_path("gate") == "mlp.up_proj" and found.site_path("up") == "mlp.gate_proj"


def swapped(self, x):
    """An MLP whose names mislead."""
    return self.down_proj(self.act_fn(self.up_proj(x)) * self.gate_proj(x))


def test_a_block_that_computes_something_else_is_not_guessed_at():
    model = random_model("llama", 0)
    for layer in model.model.layers:
        layer.mlp.forward = added.__get__(layer.mlp)
    with pytest.raises(PairError, match="0 compute .* or add a row in dapa/model/architectures.py"):
        structure_of(model.to("meta"), "odd")
    model = random_model("llama", 0)
    model.model.layers = nn.ModuleList([*model.model.layers[:2], nn.Linear(32, 32)])
    with pytest.raises(PairError, match="0 lists of 3 equal layers were found"):
        structure_of(model.to("meta"), "odd")


def added(self, x):
    """Plus, not times."""
    return self.down_proj(self.act_fn(self.gate_proj(x)) + self.up_proj(x))


def test_the_probe_leaves_the_random_state_alone():
    model = random_model("llama", 0).to("meta")
    before = torch.get_rng_state()
    structure_of(model, "odd")
    assert torch.equal(before, torch.get_rng_state())


def test_an_unknown_family_is_shown_and_blocked_until_it_is_confirmed(unknown):
    student, teacher, places = unknown
    spec = PairSpec(*map(str, places), dtype="float32", device="cpu")
    report = check(open_checkpoint(spec.student), open_checkpoint(spec.teacher))
    (told, *_) = [f.why for f in report.findings if f.level == "blocks"]
    assert "down_proj(silu(gate_proj(x)) * up_proj(x))" in told and "--trust-structure" in told
    with pytest.raises(PairError, match="trust-structure"):
        load_pair(spec)
    (line,) = Workbench.trust_structure(spec)
    assert "gate mlp.gate_proj" in line and Workbench.trust_structure(spec) == []
    pair = load_pair(spec)
    assert len(pair.units("gate")) == 3
    gates = Mask.of(pair.units("gate"))
    copied = deepcopy(student)
    for ours, theirs in zip(copied.model.layers, teacher.model.layers, strict=True):
        ours.mlp.gate_proj.weight.copy_(theirs.mlp.gate_proj.weight)
    for mask, model in ((Mask(), student), (gates, copied)):
        (row,) = complete(pair, [Row((9, 14, 23), mask)], Decoding(8))
        assert row.new_ids == generated(model, (9, 14, 23), 8)


def test_a_stored_run_of_a_confirmed_family_resumes_in_another_process(unknown, tmp_path):
    _, _, places = unknown
    spec = PairSpec(*map(str, places), dtype="float32", device="cpu")
    bench = Workbench(tmp_path / "runs")
    Workbench.trust_structure(spec)
    bench.load(spec)
    texts = tmp_path / "harmful.txt"
    texts.write_text("\n".join(harmful_prompts(24)), encoding="utf-8")
    job = bench.search_job(SearchSettings(max_new_tokens=4, prompts=str(texts), claim="exact"))
    del FAMILIES["ernie4_5"]  # as in another process
    again = Workbench(tmp_path / "runs").resume_job(job.id)
    assert again.units == job.units and again.pair.family.model_type == "ernie4_5"


@pytest.mark.parametrize(
    ("model_type", "told"),
    [
        ("glm4_moe", "layer 1 has another MLP than layer 0"),
        ("lfm2", "of a layer's blocks self_attn, feed_forward, 0 compute"),
    ],
)
def test_what_is_found_in_one_layer_alone_or_nowhere_is_one_line(model_type, told):
    extra = {"glm4_moe": {"n_routed_experts": 4}}
    model = tiny(model_type, **extra.get(model_type, {}))
    with pytest.raises(PairError, match=told) as caught:
        structure_of(model.to("meta"), model_type)
    assert "\n" not in str(caught.value) and "architectures.py" in str(caught.value)


@pytest.mark.parametrize(
    ("model_type", "extra"),
    [
        ("recurrent_gemma", {"lru_width": 32, "block_types": ["recurrent", "attention"]}),
        ("mamba", {}),
        ("qwen3_next", {"num_experts": 4}),
    ],
)
def test_layers_that_carry_a_state_from_token_to_token_are_refused(model_type, extra):
    """A batch keeps keys and values a row; with a recurrent layer's state goes its padding."""
    model = tiny(model_type, **extra)
    with pytest.raises(PairError, match="carry a state from token to token") as caught:
        structure_of(model.to("meta"), model_type)
    assert "\n" not in str(caught.value)


def test_a_known_family_is_never_overruled(planted_folders):
    before = FAMILIES["llama"]
    assert learn(open_checkpoint(str(planted_folders[0]))) is None
    assert FAMILIES["llama"] is before
