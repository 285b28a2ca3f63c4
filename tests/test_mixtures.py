"""Mixtures of experts: what is theirs alone; what all families share stands in test_families."""

import json
from copy import deepcopy
from html import unescape

import pytest
import torch
from safetensors.torch import load_file
from support import TOKENIZER, random_trio, some, third

from dapa.cli import main
from dapa.core.records import EMPTY, Mask, Prompt, SettingError, Site, Unit
from dapa.localize.causes.gradients import MovesWhole, integrated_gradients
from dapa.localize.causes.hybrids import PARTS, hybrid_log_odds, part_sizes
from dapa.localize.divergence.divergence import divergence
from dapa.localize.divergence.recording import sites_of_pair
from dapa.measure.baselines import baselines
from dapa.measure.placebos import sham_view
from dapa.model.adapted import open_checkpoint
from dapa.model.architectures import FAMILIES
from dapa.model.compatibility import check
from dapa.model.decode.generation import Row, complete
from dapa.model.decode.log_odds import refusal_log_odds
from dapa.model.decode.openers import find_openers
from dapa.model.decode.sampling import Decoding
from dapa.model.families import submodule
from dapa.model.pair_loading import load_pair
from dapa.model.spec import PairSpec
from dapa.model.template import encode, render
from dapa.model.transplant import masked
from dapa.planted.pairs import Planting, harmful_prompts, harmless_prompts, plant
from dapa.planted.wiring import CONST
from dapa.prompts.format import PromptFormat, Turn
from dapa.prompts.sets import PromptSet
from dapa.search.job import SearchJob
from dapa.search.priors import rank
from dapa.search.settings import SearchSettings
from dapa.store.runs import Store
from dapa.ui.session import fresh
from dapa.ui.strip import render as drawn
from dapa.ui.tabs.search.form import searchable

MIXED = [name for name, family in FAMILIES.items() if family.mixture]
HOW = PromptFormat()
IDS = torch.tensor([[9, 14, 23, 31, 8, 50], [40, 41, 42, 12, 7, 70], [9, 14, 23, 31, 8, 50]])
PLANTED = Planting(4, (1, 2), distractors=(3,))


@pytest.fixture(scope="module", params=some(MIXED, third(["llama", *MIXED])[-1:]))
def trio(request):
    """A random pair of one such family."""
    return random_trio(request.param)


@pytest.fixture
def saved(trio, tmp_path):
    """Its folders."""
    return save(trio, tmp_path)


def save(trio, folder, **how):
    for role, model in (("student", trio.student), ("teacher", trio.teacher)):
        deepcopy(model).save_pretrained(folder / role, **how)
        TOKENIZER.save_pretrained(folder / role)
    return [str(folder / role) for role in ("student", "teacher")]


def spec(places, memory="full"):
    return PairSpec(*places, "", "float32", "cpu", memory)


def test_each_row_of_a_batch_has_experts_and_a_router_of_its_own(trio):
    kinds = trio.pair.mixture
    rows = [Mask.of([Unit(0, kinds[0]), Unit(1, kinds[1])]), EMPTY, Mask.of([Unit(0, "mlp")])]
    with torch.inference_mode(), masked(trio.pair.plan(rows)):
        found = trio.pair.student(IDS).logits
    for row, mask in enumerate(rows):
        with torch.inference_mode():
            wanted = trio.materialised(mask)(IDS[row : row + 1]).logits[0]
        torch.testing.assert_close(found[row], wanted, atol=1e-4, rtol=1e-4)


def test_what_moves_whole_refuses_fractions_and_blocks_in_one_line(trio):
    pair = trio.pair
    for kind in (*pair.mixture, "mlp", "layer"):
        for ask in (pair.validate, lambda mask: pair.plan([mask])):
            with pytest.raises(SettingError, match="mixture of experts moves whole.* 0 or 1"):
                ask(Mask.of([Unit(1, kind)], 0.5))
    with pytest.raises(SettingError, match=r"cannot be cut; a mixture of experts moves whole"):
        pair.validate(Mask.of([Unit(1, "mlp", (0, 4))]))
    with pytest.raises(SettingError, match="is a mixture of experts.* take experts, router"):
        pair.units("gate")
    pair.validate(Mask(((Unit(1, "attention"), 0.5), (Unit(1, "mlp"), 1.0))))


def test_the_report_says_what_to_search(trio, saved):
    report = check(*map(open_checkpoint, saved))
    (told,) = [f for f in report.findings if f.what == "mixture of experts"]
    assert report.compatible and told.level == "warns" and "experts, router" in told.why
    wanted = {k: trio.pair.differs[k] for k in report.differs}
    assert {kind: list(layers) for kind, layers in report.differs.items()} == wanted


def test_experts_stored_one_by_one_and_as_one_tensor_are_the_same_site(trio, tmp_path):
    places = save(trio, tmp_path / "apart")
    whole = save(trio, tmp_path / "whole", save_original_format=False)
    names = [load_file(f"{place[0]}/model.safetensors").keys() for place in (places, whole)]
    assert ("model.layers.0.mlp.experts.gate_up_proj" in names[0]) == (
        not trio.pair.family.each
    ) and "model.layers.0.mlp.experts.gate_up_proj" in names[1]
    mask = Mask.of(trio.pair.units("experts"))
    with torch.inference_mode():
        wanted = trio.materialised(mask)(IDS).logits
    for memory in ("full", "lean:experts"):
        pair = load_pair(spec([places[0], whole[1]], memory))
        assert pair.differs["experts"] == trio.pair.differs["experts"] == [0, 2]
        with torch.inference_mode(), masked(pair.plan([mask] * len(IDS))):
            torch.testing.assert_close(pair.student(IDS).logits, wanted, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("changes", [{"mlp_only_layers": [1]}, {"decoder_sparse_step": 2}])
def test_layers_of_two_kinds_are_refused_in_one_line(changes, tmp_path):
    places = save(random_trio("qwen3_moe"), tmp_path)
    for place in places:
        path = f"{place}/config.json"
        with open(path) as file:
            told = json.load(file)
        with open(path, "w") as file:
            json.dump({**told, **changes}, file)
    found = [f for f in check(*map(open_checkpoint, places)).findings if f.level == "blocks"]
    assert "have a plain MLP, not experts" in found[0].why and "choose another" in found[0].why


def test_sinks_that_differ_are_said_to_stay(tmp_path):
    trio = random_trio("gpt_oss")
    trio.teacher.model.layers[1].self_attn.sinks.add_(1.0)
    report = check(*map(open_checkpoint, save(trio, tmp_path)))
    (told,) = [f for f in report.findings if f.what == "sinks"]
    assert "model.layers.1.self_attn.sinks" in told.why and "stay the student's" in told.why


def outputs(trio, path, ids):
    """What a module of the plain student puts out, and the teacher's on the same input."""
    seen = []
    theirs = submodule(trio.teacher, path)
    handle = submodule(trio.student, path).register_forward_hook(
        lambda module, args, out: seen.extend((out, theirs(*args)))
    )
    with torch.inference_mode():
        trio.student(ids)
    handle.remove()
    return seen


def test_every_place_of_a_mixture_is_on_the_map(trio):
    pair, prompts = trio.pair, harmful_prompts(3)
    assert {"mlp", *pair.mixture} <= set(sites_of_pair(pair))
    found = divergence(pair, prompts, HOW, "l2", "local", sites=sites_of_pair(pair))
    column = found.sites.index("experts")
    assert found.values[1, column] == 0.0 and (found.values[[0, 2], column] > 0).all()
    family, layer = pair.family, 2
    for i, prompt in enumerate(prompts):
        ids = torch.tensor([encode(pair, render(pair, [Turn("user", prompt)], HOW), HOW)])
        for kind in (*pair.mixture, "mlp"):
            path = family.mlp if kind == "mlp" else family.site_path(kind)
            both = outputs(trio, f"{family.layers}.{layer}.{path}", ids)
            a, b = (x[0] if isinstance(x, tuple) else x for x in both)
            a, b = (x.reshape(-1, x.shape[-1])[-1] for x in (a, b))
            wanted = float((b - a).norm() / a.norm())
            value = found.per_prompt[i, layer, found.sites.index(kind)]
            assert value == pytest.approx(wanted, rel=1e-3), kind
    total = divergence(pair, prompts, HOW, "cosine", "total", sites=sites_of_pair(pair))
    assert total.values.shape == found.values.shape


def test_hybrids_of_parts_are_the_copied_weights(trio):
    pair = trio.pair
    sizes = part_sizes(pair)
    assert sum(size.parameters for size in sizes.values()) == pair.parameters
    assert not sizes["gate"].parameters and sizes["rest"].differs
    ids, openers = [(7, 9, 11, 30)], find_openers(pair)
    own = {"student": ids, "teacher": ids}
    both = {"student": openers, "teacher": openers}
    (found,) = hybrid_log_odds(pair, own, {"rest"}, both)
    (wanted,) = refusal_log_odds(pair, ids, [Mask.of(pair.units("mlp"))], openers=openers)
    assert found == pytest.approx(float(wanted[0]), rel=1e-3, abs=1e-3)
    (back,) = hybrid_log_odds(pair, own, set(PARTS) - {"rest"}, both)
    assert back != pytest.approx(found)


def test_a_ranking_by_slopes_gives_way_to_one_that_needs_none(trio):
    units = trio.pair.units("experts")
    with pytest.raises(MovesWhole, match="moves whole.* rank by single"):
        integrated_gradients(trio.pair, [(7, 9, 11, 30)], units)
    prompts = harmful_prompts(2)
    assert rank(None, trio.pair, units, prompts, HOW)[0] == "divergence"
    assert rank("single", trio.pair, units, prompts, HOW)[0] == "single"
    with pytest.raises(MovesWhole):
        rank("gradient", trio.pair, units, prompts, HOW)
    assert rank(None, trio.pair, trio.pair.units("attention"), prompts, HOW)[0] == "gradient"


def test_the_screen_offers_a_mixtures_own_sites(trio):
    able = searchable(trio.pair.differs)
    assert able[0] == "experts" and set(trio.pair.mixture) < set(able) and "gate" not in able
    session = fresh(0, trio.pair)
    assert session.kind == "experts"
    strip = drawn(trio.pair, session, "1 %", "1 KiB")
    assert "layers' experts" in unescape(strip)


def routed(model_type):
    """A planted pair in which not the experts differ but who is chosen among them."""
    models = plant(PLANTED, model_type)
    family = models.family
    for layer in range(PLANTED.layers):
        ours, theirs = (
            submodule(m, family.path(Site(layer, "experts")))
            for m in (models.student, models.teacher)
        )
        for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            mine[2:] = other[2:]
            other.copy_(mine)
        for model, chosen in ((models.student, slice(0, 2)), (models.teacher, slice(2, 4))):
            router = submodule(model, family.path(Site(layer, "router"))).weight
            router[chosen, CONST] = 3.0
    return models.pair(f"routed {model_type}")


@pytest.mark.parametrize("model_type", some(MIXED, ["qwen3_moe"]))
def test_a_router_is_found_where_the_choice_of_experts_refuses(model_type, tmp_path):
    pair = routed(model_type)
    moved = {kind: layers for kind, layers in pair.differs.items() if layers}
    assert moved == dict.fromkeys(("router", "mlp", "layer"), [0, 1, 2, 3])
    texts = harmful_prompts(20)
    prompts = [Prompt(t, split="search" if i < 14 else "held_out") for i, t in enumerate(texts)]
    harmful = PromptSet("planted", "harmful", tuple(prompts))
    settings = SearchSettings(max_new_tokens=20, kind="router")
    job = SearchJob(pair, harmful, settings, Store(tmp_path))
    report = job.run()
    assert report.layers == PLANTED.needed and report.one_minimal
    table = baselines(job, [Prompt(t) for t in harmless_prompts(4)])
    assert "moves whole" in table.row("blend").note
    assert "moves whole" in table.row("top-k-gradient").note
    assert table.row("whole-mlp").held_out.value == 1.0
    view = sham_view(pair, report.mask)
    ids = encode(pair, render(pair, [Turn("user", texts[0])], HOW), HOW)
    with view.applied():
        (row,) = complete(view, [Row(ids)], Decoding(5))
    assert row.text


def test_the_command_line_checks_and_searches_a_mixture(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    student, teacher = plant(PLANTED, "qwen2_moe").save(tmp_path)
    (tmp_path / "harmful.txt").write_text("\n".join(harmful_prompts(30)))
    pair = ["--student", str(student), "--teacher", str(teacher), "--dtype", "float32"]

    def dapa(*arguments):
        with pytest.raises(SystemExit) as ended:
            main([*arguments, *pair])
        return ended.value.code, *capfd.readouterr()

    code, out, _ = dapa("check", "--json", "-")
    assert code == 0 and json.loads(out)["differs"]["experts"] == [0, 1, 2, 3]
    asked = ["--prompts", "harmful.txt", "--max-new-tokens", "12", "--json", "-"]
    code, out, _ = dapa("search", "--sites", "experts", *asked)
    assert code == 0 and json.loads(out)["layers"] == [1, 2]
    code, out, err = dapa("search", *asked)
    assert code == 2 and "Qwen2 MoE is a mixture of experts" in err and "take experts" in err
