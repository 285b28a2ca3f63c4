"""Finer units: heads, blocks of neurons, ranks and blends compute what their copied weights do."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support import NEURONS, by_head, generated, masks, random_trio, run_out, some
from test_families import PROMPTS, logits, plain

from dapa.core.masks import HEADS, parse_units
from dapa.core.records import Mask, SettingError, Site, Unit
from dapa.model.copied import copied
from dapa.model.decode.generation import Batch, Row
from dapa.model.lowrank import strongest


@pytest.fixture(scope="module", params=some())
def kin(request):
    """A random pair of each family."""
    return random_trio(request.param)


def head_masks(pair):
    """Some heads, some shared heads, blends, both kinds whole; each with something else."""
    last = pair.heads.queries - 1
    first = pair.family.first
    if pair.family.mixture:  # its experts move whole, beside any heads
        return [
            parse_units("0.head[0]"),
            parse_units(f"1.head[{last}]@0.4,1.head[0],2.kv[0],2.experts"),
            parse_units(f"0.kv[0],0.heads[1:{last}],1.mlp"),
            parse_units("1.heads,1.kv@0.5,0.attention~2,2.q~3@0.7,2.router"),
        ]
    return [
        parse_units("0.head[0]"),
        parse_units(f"1.head[{last}]@0.4,1.head[0],2.kv[0]"),
        parse_units(f"0.kv[0],0.heads[1:{last}],2.{first}[3:9]@0.5"),
        parse_units("1.heads,1.kv@0.5,0.down[2:9],2.up~3"),
        parse_units(f"0.attention~2,2.{first}~5@0.7,1.mlp~4"),
    ]


def test_rows_of_heads_and_ranks_decode_as_transformers_decodes_copied_weights(kin):
    every = head_masks(kin.pair)
    rows = [Row(ids, mask, max_new_tokens=5) for mask in every for ids in PROMPTS]
    batch = Batch(kin.pair)
    batch.admit(rows[:6])
    batch.step()
    batch.admit(rows[6:])
    run_out(batch)
    for mask in every:
        found, wanted = logits(kin, [mask] * 2), plain(kin.materialised(mask))
        torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4, msg=mask.key)
    for row in rows:
        assert row.new_ids == generated(kin.materialised(row.mask), row.ids, 5), row.mask.key


def test_every_head_is_a_unit_of_its_own_and_together_they_are_query_and_output(kin):
    pair = kin.pair
    for kind in HEADS:
        units = pair.units(kind)
        count = pair.heads.count(kind)
        assert len(units) == 3 * count == 3 * len(by_head(kin.student, pair.family, units[0]))
        one = pair.share(Mask.of(units[:1])).parameters
        own = by_head(kin.student, pair.family, units[0])[0]
        assert one == sum(part.numel() for part in own)
        assert pair.share(Mask.of(units)).parameters == one * len(units)


def test_copied_weights_are_what_tests_copy_by_hand(kin):
    for mask in head_masks(kin.pair):
        made = kin.materialised(mask)
        from support import weights_of

        for site, strength in kin.pair.resolve(mask).items():
            wanted = weights_of(made, kin.pair.family, site)
            for name, found in copied(kin.pair.sites[site], strength).items():
                torch.testing.assert_close(found, wanted[name], atol=1e-5, rtol=1e-5, msg=str(site))


LLAMA = random_trio("llama")
PHI3 = random_trio("phi3")
QWEN3 = random_trio("qwen3")


@pytest.mark.parametrize("trio", [LLAMA, PHI3, QWEN3], ids=["llama", "phi3", "qwen3"])
@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_any_mask_of_units_computes_what_its_copied_weights_compute(trio, data):
    rows = [data.draw(masks(trio.pair.family)) for _ in range(2)]
    found = logits(trio, rows)
    for i, mask in enumerate(rows):
        wanted = plain(trio.materialised(mask))[i]
        torch.testing.assert_close(found[i], wanted, atol=2e-4, rtol=2e-4, msg=mask.key)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 99), st.integers(1, 12), st.integers(1, 12), st.data())
def test_a_rank_keeps_the_share_of_squared_singular_values(seed, rows, columns, data):
    rng = torch.Generator().manual_seed(seed)
    ours, theirs = (torch.randn(rows, columns, generator=rng) for _ in range(2))
    rank = data.draw(st.integers(1, min(rows, columns)))
    found = strongest(ours, theirs, rank)
    u, s, v = np.linalg.svd((theirs - ours).double().numpy(), full_matrices=False)
    np.testing.assert_allclose(found.product(), (u[:, :rank] * s[:rank]) @ v[:rank], atol=1e-4)
    assert found.kept / found.whole == pytest.approx((s[:rank] ** 2).sum() / (s**2).sum(), rel=1e-5)
    np.testing.assert_allclose(found.squares, s**2, atol=1e-5)
    if rank == min(rows, columns):
        torch.testing.assert_close(ours + found.product(), theirs, atol=1e-4, rtol=1e-4)
    smaller = found.first(1)
    assert smaller.rank == 1 and smaller.kept == pytest.approx(s[0] ** 2, rel=1e-5)


def test_the_largest_rank_is_the_whole_matrix_and_one_less_is_not():
    pair, full = LLAMA.pair, min(NEURONS, 32)
    whole, ranked = Mask.of([Unit(0)]), Mask.of([Unit(0, "gate", None, full)])
    assert torch.equal(logits(LLAMA, [whole] * 2), logits(LLAMA, [ranked] * 2))
    less = Mask.of([Unit(0, "gate", None, full - 1)])
    assert not torch.equal(logits(LLAMA, [whole] * 2), logits(LLAMA, [less] * 2))
    assert pair.share(ranked).energy is None  # it is no rank any more
    apart = (
        pair.sites[Site(0, "gate")].teacher.weight - pair.sites[Site(0, "gate")].student.weight
    ).numpy()
    squares = np.linalg.svd(apart, compute_uv=False) ** 2
    share = pair.share(Mask.of([Unit(0, "gate", None, 3)]))
    assert share.energy == pytest.approx(squares[:3].sum() / squares.sum(), rel=1e-5)
    assert share.parameters == 3 * (NEURONS + 32)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("0.head[4]", r"0.head\[4\] does not exist; .* 0.head\[0\] to 0.head\[3\]"),
        ("0.kv[2]", r"have 0.kv\[0\] to 0.kv\[1\]"),
        ("0.head[1:1]", "does not exist"),
        ("head[1]", r"has no layer; write it as in 3.head\[1\]"),
        ("0.q[0:4]", r"cannot be cut; .* attention has heads, as in 3.head\[7\]"),
        ("0.head[1]~2", "cut twice"),
        ("0.gate[0:4]~2", "cut twice"),
        ("0.gate~0", "choose 1 to 24"),
        ("0.gate~25", "choose 1 to 24"),
        ("0.norms~2", "norms has no rank"),
        ("head~2", "head has no rank"),
        ("0.head[1],0.q", "move the same neurons of 0.q"),
        ("0.heads[0:2],0.head[1]", "move the same neurons of 0.q"),
        ("0.gate~2,0.gate[0:4]", "move the same neurons of 0.gate"),
        ("0.gate~2,0.mlp", "twice, at different strengths"),
    ],
)
def test_what_cannot_be_moved_is_said_in_one_line(text, said):
    with pytest.raises(SettingError, match=said) as caught:
        LLAMA.pair.validate(parse_units(text))
    assert "\n" not in str(caught.value)


def test_the_fused_family_keeps_queries_and_keys_apart():
    assert PHI3.pair.heads.keys == 2 and "q" not in PHI3.pair.family.single
    with pytest.raises(SettingError, match="same neurons of 0.qkv"):
        PHI3.pair.validate(parse_units("0.qkv,0.kv[1]"))
    PHI3.pair.validate(parse_units("0.heads,0.kv"))


def test_heads_that_the_config_does_not_tell_are_not_offered():
    odd = random_trio("llama")
    odd.student.config.num_attention_heads = 3
    from dapa.model.heads import head_shape

    assert head_shape(odd.student, odd.pair.family) is None


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 99),
    st.sampled_from(["gate", "mlp", "heads", "kv"]),
    st.none() | st.tuples(st.integers(0, 50), st.integers(0, 50)),
    st.none() | st.integers(0, 64),
)
def test_a_unit_reads_back_from_its_name(layer, kind, block, rank):
    unit = Unit(layer, kind, block, rank)
    assert Unit.parse(str(unit)) == unit
    assert Mask.parse(Mask.of([unit], 0.25).key) == Mask.of([unit], 0.25)


def test_one_head_is_named_as_people_write_it():
    assert str(Unit(3, "heads", (7, 8))) == "3.head[7]" and str(Unit(3, "kv", (1, 2))) == "3.kv[1]"
    assert Unit.parse("3.head[2:4]") == Unit(3, "heads", (2, 4))
    assert parse_units("2-3.head[0]@0.5") == Mask.of(
        [Unit(2, "heads", (0, 1)), Unit(3, "heads", (0, 1))], 0.5
    )
