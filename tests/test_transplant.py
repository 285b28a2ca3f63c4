"""The row-masked student: bit for bit at 0 and 1, equal to copied weights between, no crossing."""

import threading

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support import EQUAL_GATE, LAYERS, NEURONS, TOKENIZER, masks, prompts_of_ids, random_trio

from dapa.core.records import EMPTY, OUTSIDE, Mask, SettingError, Site, Unit
from dapa.model.architectures import FAMILIES
from dapa.model.families import submodule, units_for
from dapa.model.planning import plan_masks
from dapa.model.transplant import TransplantModule, masked, watching

KINDS = FAMILIES["llama"].kinds
IDS = torch.tensor([[9, 14, 23, 31, 8], [40, 41, 42, 12, 7], [33, 5, 6, 28, 19]])


def taps(trio):
    """How many there are: residual, attention and MLP of each layer, its sites, and the ends."""
    return LAYERS * (3 + len(trio.pair.family.sites)) + len(trio.pair.family.ends)


def logits(trio, rows, ids=IDS):
    """(rows, tokens, vocabulary) of the wrapped student under one mask a row."""
    with torch.inference_mode(), masked(trio.pair.plan(rows)):
        return trio.pair.student(ids).logits


def only_with(trio, *kinds):
    """Skip what is asked of sites that this family has otherwise; `test_families` asks them all."""
    for kind in kinds:
        if kind not in trio.pair.family.kinds:
            pytest.skip(f"{trio.pair.family.title} has no {kind}")


def only_unfused(trio):
    """Skip where plain models have no module for each site; `test_families` asks it of them."""
    if trio.pair.family.fused:
        pytest.skip(f"{trio.pair.family.title} fuses sites")


def same(found, wanted, trio):
    """Equal to the bit; up to rounding where one matrix product became two."""
    if trio.pair.family.fused:
        torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)
        return torch.equal(found.argmax(-1), wanted.argmax(-1))
    return torch.equal(found, wanted)


def plain(model, ids=IDS):
    with torch.inference_mode():
        return model(ids).logits


def test_an_empty_mask_is_the_untouched_student_bit_for_bit(trio):
    expected = plain(trio.student)
    assert torch.equal(plain(trio.pair.student), expected)
    assert torch.equal(logits(trio, [EMPTY] * 3), expected)


@pytest.mark.parametrize("kind", [*KINDS, "all", "gate,attention,head"])
def test_a_full_mask_is_the_copied_weights_bit_for_bit(trio, kind):
    only_with(trio, *(k for k in kind.split(",") if k != "all"))
    mask = Mask.of(trio.pair.units(kind))
    assert same(logits(trio, [mask] * 3), plain(trio.materialised(mask)), trio)


def test_every_mlp_of_a_pair_that_differs_in_mlps_only_is_the_teacher_bit_for_bit(model_type):
    trio = random_trio(model_type, kinds=("gate", "up", "down"))
    mask = Mask.of(trio.pair.units("mlp"))
    assert same(logits(trio, [mask] * 3), plain(trio.teacher), trio)


@pytest.mark.parametrize("kinds", ["all", "layer,embeddings,final_norm,head"])
def test_all_that_there_is_together_is_the_teacher_bit_for_bit(trio, kinds):
    kinds = ",".join(k for k in kinds.split(",") if k in ("all", *trio.pair.family.kinds))
    mask = Mask.of(trio.pair.units(kinds))
    assert same(logits(trio, [mask] * 3), plain(trio.teacher), trio)


@pytest.mark.parametrize("kind", ["gate", "up", "down", "q", "o", "input_layernorm"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_strength_one_at_a_site_runs_the_teachers_module_bit_for_bit(trio, kind, dtype):
    only_with(trio, kind)
    only_unfused(trio)
    trio = trio if dtype == torch.float32 else random_trio(trio.pair.family.model_type, dtype=dtype)
    site = trio.pair.sites[Site(2, kind)]
    x = torch.randn(3, 4, site.student.weight.shape[-1], dtype=dtype)
    path = trio.pair.family.site_path(kind)
    for mask, model in ((Mask.of([Unit(2, kind)]), trio.teacher), (EMPTY, trio.student)):
        module = submodule(submodule(model, trio.pair.family.layers)[2], path)
        with masked(trio.pair.plan([mask] * 3)):
            assert torch.equal(site(x), module(x))


@settings(max_examples=25)
@given(data=st.data())
def test_rows_with_different_masks_equal_models_with_copied_weights(trio, data):
    rows = data.draw(st.lists(masks(trio.pair.family), min_size=2, max_size=5))
    ids = torch.tensor([data.draw(prompts_of_ids(9).filter(lambda p: len(p) > 4))[:5]] * len(rows))
    found = logits(trio, rows, ids)
    for row, mask in enumerate(rows):
        expected = plain(trio.materialised(mask), ids[:1])[0]
        torch.testing.assert_close(found[row], expected, atol=2e-4, rtol=2e-4)
        assert torch.equal(found[row].argmax(-1), expected.argmax(-1))


def test_neuron_blocks_of_a_down_projection_with_a_bias_keep_the_students_bias():
    trio = random_trio("llama", mlp_bias=True)
    mask = Mask.of([Unit(0, "down", (3, 9)), Unit(1, "up", (0, 5)), Unit(2, "mlp")])
    torch.testing.assert_close(
        logits(trio, [mask, EMPTY, mask])[0],
        plain(trio.materialised(mask))[0],
        atol=1e-4,
        rtol=1e-4,
    )


@pytest.mark.parametrize("kind", ["gate", "up"])
def test_a_block_selects_its_neurons_bit_for_bit(trio, kind):
    site, x = trio.pair.sites[Site(2, kind)], torch.randn(3, 4, 32)
    with masked(trio.pair.plan([Mask.of([Unit(2, kind, (3, 9))])] * 3)):
        y = site(x)
    assert torch.equal(y[..., 3:9], site.teacher(x)[..., 3:9])
    assert torch.equal(y[..., :3], site.student(x)[..., :3])
    assert torch.equal(y[..., 9:], site.student(x)[..., 9:])


def test_blocks_that_together_cover_a_site_equal_the_whole_site(trio):
    half = NEURONS // 2
    for kind in ("gate", "up", "down"):
        parts = Mask.of([Unit(0, kind, (0, half)), Unit(0, kind, (half, NEURONS))])
        whole = Mask.of([Unit(0, kind)])
        torch.testing.assert_close(
            logits(trio, [parts] * 3), logits(trio, [whole] * 3), atol=1e-4, rtol=1e-4
        )


def test_bfloat16_blends_stay_near_the_float32_blend():
    low, high = random_trio("llama", dtype=torch.bfloat16), random_trio("llama")
    mask = Mask(((Unit(0, "gate"), 0.3), (Unit(2, "down", (2, 9)), 0.7)))
    gap = (logits(low, [mask, EMPTY, mask]).float() - logits(high, [mask, EMPTY, mask])).abs()
    assert logits(low, [mask] * 3).dtype == torch.bfloat16
    assert gap.mean() < 0.1 * logits(high, [mask] * 3).abs().mean()


def test_gradients_reach_the_student_and_the_input_through_a_mixed_batch(trio):
    site = trio.pair.sites[Site(0, "gate")]
    x = torch.randn(3, 2, 32, requires_grad=True)
    rows = [EMPTY, Mask.of([Unit(0)]), Mask.of([Unit(0)], 0.5)]
    with masked(trio.pair.plan(rows)):
        site(x).sum().backward()
    ours, theirs = site.student.weight.sum(0), site.teacher.weight.sum(0)
    for row, expected in enumerate([ours, theirs, (ours + theirs) / 2]):
        torch.testing.assert_close(x.grad[row, 0], expected, atol=1e-4, rtol=1e-4)


# -- contexts -----------------------------------------------------------------------------------


def test_the_mask_is_gone_after_its_context_and_after_an_exception(trio):
    expected = plain(trio.student)
    with pytest.raises(RuntimeError, match="on purpose"), masked(trio.pair.plan([full(trio)] * 3)):
        with masked(None):
            assert torch.equal(plain(trio.pair.student), expected)
        assert not torch.equal(plain(trio.pair.student), expected)
        raise RuntimeError("on purpose")
    assert torch.equal(plain(trio.pair.student), expected)


def test_a_watcher_is_gone_after_an_exception_of_its_own(trio):
    def angry(tap, *_):
        raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError, match="on purpose"), watching(angry):
        trio.pair.student(IDS)
    assert torch.equal(plain(trio.pair.student), plain(trio.student))


def full(trio):
    return Mask.of(trio.pair.units("mlp"))


def test_two_threads_with_different_masks_one_recording_do_not_cross(trio):
    rounds = 60
    rows = {
        "a": [full(trio)] * 3,
        "b": [EMPTY, Mask.of([Unit(0)]), Mask.of([Unit(2, "down")], 0.5)],
    }
    expected = {name: logits(trio, masks) for name, masks in rows.items()}
    plans = {name: trio.pair.plan(masks) for name, masks in rows.items()}
    start, wrong, seen = threading.Barrier(2, timeout=60), [], []

    def record(tap, module, args, kwargs, output):
        seen.append((threading.current_thread().name, tap.layer, tap.kind))

    def work(name):
        try:
            for _ in range(rounds):
                start.wait()
                watcher = record if name == "a" else None
                with torch.inference_mode(), masked(plans[name]), watching(watcher):
                    found = trio.pair.student(IDS).logits
                if not torch.equal(found, expected[name]):
                    wrong.append(name)
        except BaseException as error:
            wrong.append(error)
            start.abort()

    threads = [threading.Thread(target=work, args=(n,), name=n) for n in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert {name for name, _, _ in seen} == {"a"}
    assert len(seen) == rounds * taps(trio)


def test_a_whole_forward_of_another_thread_in_the_midst_of_ours_changes_nothing(trio):
    expected = logits(trio, [full(trio)] * 3)
    others, seen = [], []

    def record(tap, module, args, kwargs, output):
        seen.append(tap)
        if tap.kind == "gate":
            thread = threading.Thread(target=lambda: others.append(plain(trio.pair.student)))
            thread.start()
            thread.join()

    with watching(record):
        assert torch.equal(logits(trio, [full(trio)] * 3), expected)
    assert len(others) == LAYERS and len(seen) == taps(trio)
    assert all(torch.equal(other, plain(trio.student)) for other in others)


# -- taps ---------------------------------------------------------------------------------------


def outputs(trio, run):
    """Everything a watcher sees while `run` runs, as {(role, layer, kind): [output]}."""
    found = {}

    def record(tap, module, args, kwargs, output):
        value = output[0] if isinstance(output, tuple) else output
        found.setdefault((tap.role, tap.layer, tap.kind), []).append(value.clone())

    with torch.inference_mode(), watching(record):
        run()
    return found


def test_taps_see_what_plain_hooks_on_an_unwrapped_model_see(trio):
    only_unfused(trio)
    found = outputs(trio, lambda: trio.pair.student(IDS))
    family, expected = trio.pair.family, {}
    handles = []
    for layer, block in enumerate(submodule(trio.student, family.layers)):
        places = {"residual": "", "attention": family.attention, "mlp": family.mlp}
        for kind, path in {**places, **dict(family.sites)}.items():

            def keep(module, args, output, key=("student", layer, kind)):
                expected[key] = (output[0] if isinstance(output, tuple) else output).clone()

            handles.append(submodule(block, path).register_forward_hook(keep))
    for kind, path in family.ends:

        def keep_end(module, args, output, key=("student", OUTSIDE, kind)):
            expected[key] = output

        handles.append(submodule(trio.student, path).register_forward_hook(keep_end))
    plain(trio.student)
    for handle in handles:
        handle.remove()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key][0], expected[key]) for key in expected)


def test_a_masked_student_shows_no_taps_of_the_teacher(trio):
    mixed = [EMPTY, full(trio), Mask.of(trio.pair.units("mlp"), 0.5)]

    def run():
        with masked(trio.pair.plan(mixed)):
            trio.pair.student(IDS)

    found = outputs(trio, run)
    assert {role for role, _, _ in found} == {"student"}
    assert all(len(values) == 1 and len(values[0]) == 3 for values in found.values())


def test_the_teachers_own_forward_shows_its_taps(trio):
    found = outputs(trio, lambda: trio.pair.teacher(IDS))
    assert {role for role, _, _ in found} == {"teacher"}
    assert len(found) == taps(trio)


@pytest.mark.parametrize("kind", ["down", "v", "gate", "attention", "mlp", "residual"])
@pytest.mark.parametrize("role", ["student", "teacher"])
def test_an_intervention_replaces_what_a_tap_sees(trio, role, kind):
    only_unfused(trio)

    def halve(tap, module, args, kwargs, output):
        if (tap.role, tap.layer, tap.kind) != (role, 1, kind):
            return None
        return (output[0] / 2, *output[1:]) if isinstance(output, tuple) else output / 2

    family = trio.pair.family
    unwrapped, wrapped = (
        (trio.student, trio.pair.student)
        if role == "student"
        else (trio.teacher, trio.pair.teacher)
    )
    paths = {"residual": "", "attention": family.attention, "mlp": family.mlp, **dict(family.sites)}
    place = submodule(submodule(unwrapped, family.layers)[1], paths[kind])
    handle = place.register_forward_hook(
        lambda m, a, o: (o[0] / 2, *o[1:]) if isinstance(o, tuple) else o / 2
    )
    expected = plain(unwrapped)
    handle.remove()
    with watching(halve):
        assert torch.equal(plain(wrapped), expected)
    assert not torch.equal(expected, plain(unwrapped))
    assert torch.equal(plain(wrapped), plain(unwrapped))


# -- what the pair owns -------------------------------------------------------------------------


def test_equal_sites_share_storage_and_are_in_no_plan(trio):
    equal = trio.pair.sites[Site(EQUAL_GATE, "gate")]
    assert equal.student.weight.data_ptr() == equal.teacher.weight.data_ptr()
    assert EQUAL_GATE not in trio.pair.differs["gate"]
    assert trio.pair.plan([Mask.of([Unit(EQUAL_GATE)])] * 2) is None
    plan = trio.pair.plan([full(trio), EMPTY])
    assert Site(EQUAL_GATE, "gate") not in plan.moves and Site(EQUAL_GATE, "up") in plan.moves


def test_equal_tensors_are_held_once_and_equal_kinds_outside_the_mlp_stay_unwrapped(model_type):
    trio = random_trio(model_type, kinds=("gate", "v"))
    only_unfused(trio)
    assert trio.pair.wrapped == ("gate", "up", "down", "v")
    assert not isinstance(trio.pair.layer("student", 0).self_attn.q_proj, TransplantModule)
    assert trio.pair.sites[Site(0, "q")].student is trio.pair.layer("student", 0).self_attn.q_proj
    ours = {p.data_ptr() for p in trio.pair.student.parameters()}
    shared = sum(p.numel() for p in trio.pair.teacher.parameters() if p.data_ptr() in ours)
    family = trio.pair.family
    sites = sum(
        p.numel()
        for block in submodule(trio.student, family.layers)
        for kind, path in family.sites
        if kind in ("gate", "v")
        for p in submodule(block, path).parameters()
    )
    sites -= submodule(trio.student, family.layers)[EQUAL_GATE].mlp.gate_proj.weight.numel()
    assert shared == sum(p.numel() for p in trio.student.parameters()) - sites


def test_the_students_parameters_and_state_exclude_the_teachers(trio):
    theirs = {p.data_ptr() for p in trio.pair.teacher.parameters()}
    live = [m for s, m in trio.pair.sites.items() if s.layer in trio.pair.differs[s.module]]
    own = {p.data_ptr() for module in live for p in module.teacher.parameters()}
    assert own <= theirs
    student = trio.pair.student
    assert not own & {p.data_ptr() for p in student.parameters()}
    assert not own & {t.data_ptr() for t in student.state_dict().values()}
    count = sum(p.numel() for p in trio.student.parameters())
    assert sum(p.numel() for p in student.parameters()) == count == trio.pair.parameters


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (Mask.of([Unit(LAYERS)]), f"layer {LAYERS} does not exist"),
        (Mask.of([Unit(-1)]), "layer -1 does not exist"),
        (Mask.of([Unit(0, "router")]), "'router'"),
        (Mask.of([Unit(0, "head")]), "0.head belongs to no layer; write head"),
        (Mask.of([Unit(OUTSIDE, "q")]), "layer -1 does not exist; q stands in .* as in 0.q"),
        (Mask.of([Unit(0, "qkv")]), "no sites of kind 'qkv'"),
        (Mask.of([Unit(0, "q", (0, 4))]), "0.q.0:4. cannot be cut; only gate, up, down, mlp"),
        (Mask.of([Unit(OUTSIDE, "head", (0, 4))]), "head.0:4. cannot be cut"),
        (Mask(((Unit(0, "norms"), 1.0), (Unit(0, "layer"), 0.5))), "transplanted twice"),
        (Mask.of([Unit(0, "gate", (0, NEURONS + 1))]), f"{NEURONS} neurons"),
        (Mask.of([Unit(0, "gate", (4, 4))]), f"{NEURONS} neurons"),
        (Mask(((Unit(0, "gate"), 1.0), (Unit(0, "mlp"), 0.5))), "0.gate is transplanted twice"),
        (Mask.of([Unit(0, "gate"), Unit(0, "gate", (0, 2))]), "same neurons of 0.gate"),
    ],
)
def test_a_mask_that_the_pair_cannot_carry_is_named(trio, mask, words):
    if "no sites" not in words:
        only_with(trio, *{unit.kind for unit in mask.units} - {"router"})
    elif "qkv" in trio.pair.family.kinds:
        pytest.skip("there are such sites")
    with pytest.raises(SettingError, match=words):
        trio.pair.validate(mask)
    with pytest.raises(SettingError, match=words):
        trio.pair.plan([EMPTY, mask])


def test_units_offer_only_what_differs(trio):
    assert [unit.layer for unit in trio.pair.units("gate")] == [0, 2]
    assert [unit.layer for unit in trio.pair.units("mlp")] == [0, 1, 2]
    assert trio.pair.units("head") == (Unit(OUTSIDE, "head"),)
    every = trio.pair.units("all")
    assert every[0] == Unit(OUTSIDE, "embeddings") and every[-1] == Unit(OUTSIDE, "head")
    ends = len(trio.pair.family.ends)
    assert len(every) == LAYERS * len(trio.pair.family.sites) + ends - 1  # one gate is equal
    inside = [u.layer for u in every[1 : 1 - ends]]
    assert inside == sorted(inside)
    assert {u.kind for u in trio.pair.units("o, mlp")} == {"o", "mlp"}
    for kind, words in (
        ("router", "choose one of gate, up, down, mlp"),
        ("gate,mlp", "gate and mlp both move the gate"),
        *([("qkv", "no sites of kind 'qkv'")] if "q" in trio.pair.family.kinds else []),
    ):
        with pytest.raises(SettingError, match=words):
            trio.pair.units(kind)


def test_layers_and_a_kind_choose_units_and_ends_are_chosen_by_name():
    assert units_for("attention", (0, 2)) == (Unit(0, "attention"), Unit(2, "attention"))
    assert units_for("gate,head", ()) == (Unit(OUTSIDE, "head"),)
    assert units_for("all", ()) == () and units_for("all", (1,)) == (Unit(1, "layer"),)


def test_share_counts_replaced_parameters_once(trio):
    whole = trio.pair.share(Mask.of([Unit(0, "mlp")]))
    assert whole.parameters == 3 * 32 * NEURONS and whole.bytes == 4 * whole.parameters
    assert trio.pair.share(Mask.of([Unit(0, "gate"), Unit(0, "mlp")])) == whole
    part = trio.pair.share(Mask.of([Unit(0, "down", (0, NEURONS // 2))]))
    assert part.parameters == 32 * NEURONS // 2
    assert part.fraction == part.parameters / trio.pair.parameters
    ends = ",".join(kind for kind, _ in trio.pair.family.ends)
    everything = trio.pair.share(Mask.of(trio.pair.units(f"layer,{ends}")))
    assert everything.fraction == 1.0


def test_share_counts_a_block_with_its_own_biases_only():
    pair = random_trio("llama", mlp_bias=True).pair
    for kind, own in (("gate", 33), ("up", 33), ("down", 32)):  # down's bias has no neuron
        assert pair.share(Mask.of([Unit(0, kind, (3, 9))])).parameters == 6 * own
    assert pair.share(Mask.of([Unit(0, "mlp", (3, 9))])).parameters == 6 * (33 + 33 + 32)
    assert pair.share(Mask.of([Unit(0, "down")])).parameters == 32 * NEURONS + 32


def test_every_family_is_one_row_that_names_its_checkpoint_tensors(trio):
    names = set(trio.student.state_dict())
    family = FAMILIES[trio.pair.family.model_type]
    assert {family.weight_name(site) for site in trio.pair.sites} <= names
    assert len(TOKENIZER) == trio.student.config.vocab_size


def test_plans_are_remembered_and_those_of_other_masks_are_not_mixed_up(trio):
    pair = trio.pair
    one, two = Mask.of([Unit(0)]), Mask.of([Unit(0), Unit(2)])
    plan = pair.plan([one, two])
    assert pair.plan([one, Mask.of([Unit(2), Unit(0)])]) is plan
    assert pair.plan([two, one]) is not plan
    assert pair.plan([one]).moves.keys() < pair.plan([two]).moves.keys()
    pair.forget_plans()
    again = pair.plan([one, two])
    assert again is not plan and again.moves.keys() == plan.moves.keys()
    with pytest.raises(SettingError):
        pair.plan([Mask.of([Unit(99)])])
    with pytest.raises(SettingError):  # a mistake is not remembered as a plan
        pair.plan([Mask.of([Unit(99)])])


def test_the_remembered_plan_of_one_row_is_the_one_made_anew(planted_pair):
    pair = planted_pair
    units = pair.units("gate")
    masks = [
        Mask.of(units[:2]),
        Mask.of([Unit(1, "mlp"), Unit(2, "gate")]),
        Mask.of([Unit(0, "gate", (0, 4)), Unit(1)]),
        Mask.of(units, 0.5),
        Mask(),
    ]
    pair.forget_plans()
    for _ in range(3):  # slow, by what is known of units, remembered
        for mask in masks:
            ours, anew = pair.plan([mask]), plan_masks([mask, mask], pair.live, pair.device)
            assert (ours is None) == (anew is None), mask
            if ours is None:
                continue
            assert ours.masks == (mask,) and ours.moves.keys() == anew.moves.keys()
            for site, move in ours.moves.items():
                assert (move.teacher_rows is None) == (anew.moves[site].teacher_rows is None), site
        pair._plans.clear()
    with pytest.raises(SettingError):
        pair.plan([Mask.of([Unit(99)])])


def test_a_head_reads_states_that_lie_together_so_that_torch_does_not_copy_it_for_each_row(
    toy_pair,
):
    seen = []
    head = toy_pair.student.get_output_embeddings()
    hook = head.register_forward_hook(lambda module, args, out: seen.append(args[0]))
    try:
        ids = torch.ones(3, 5, dtype=torch.long)
        logits = toy_pair.student(input_ids=ids, logits_to_keep=1).logits
    finally:
        hook.remove()
    assert seen[0].shape[:2] == (3, 1) and seen[0].is_contiguous()
    torch.testing.assert_close(logits, toy_pair.student(input_ids=ids).logits[:, -1:])
