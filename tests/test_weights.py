"""Divergence of weights against torch.linalg, and its memory: one tensor, no model."""

import threading

import numpy as np
import pytest
import torch
from folders import copy_of, shard, tensors
from live import LiveBytes
from safetensors.torch import load_file

import dapa.localize.weights as module
from dapa.core.records import PairError
from dapa.localize import rank
from dapa.localize.rank import effective_rank
from dapa.localize.weights import weight_map
from dapa.model.adapted import open_checkpoint


@pytest.fixture(scope="module")
def sides(planted_folders):
    return tuple(open_checkpoint(str(folder)) for folder in planted_folders)


def entropy_rank(change):
    shares = np.linalg.svd(change.double().numpy(), compute_uv=False) ** 2
    shares = shares[shares > 1e-30] / shares.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))


def test_every_tensor_agrees_with_torch_linalg(sides):
    student, teacher = (load_file(side.folder / "model.safetensors") for side in sides)
    found = weight_map(*sides)
    assert {t.name for t in found.tensors} == set(student)
    for t in found.tensors:
        a, b = student[t.name].double(), teacher[t.name].double()
        assert t.relative == pytest.approx(float(torch.linalg.norm(b - a) / a.norm()), rel=1e-9)
        cosine = torch.nn.functional.cosine_similarity(a.flatten(), b.flatten(), dim=0)
        assert t.cosine == pytest.approx(1 - float(cosine), abs=1e-9)
        if t.rank is None:
            assert t.relative == 0 or a.ndim == 1
        else:
            assert t.rank.exact and t.rank.value == pytest.approx(entropy_rank(b - a), rel=1e-4)


def test_the_grid_is_layer_by_part_and_only_gates_differ(sides):
    found = weight_map(*sides)
    gate = found.parts.index("mlp.gate_proj.weight")
    values = found.grid()
    assert values.shape == (4, len(found.parts)) and (values[:, gate] > 0).all()
    assert values.sum() == pytest.approx(values[:, gate].sum())
    assert values[3, gate] == max(values[:, gate]), "the distractor differs most"
    assert {t.name for t in found.outside} >= {"lm_head.weight", "model.norm.weight"}
    headers, rows = found.table()
    assert len(rows) == len(found.tensors) and all(len(row) == len(headers) for row in rows)


def test_shards_and_one_file_give_the_same(sides, planted_folders, tmp_path):
    folder = copy_of(planted_folders[1], tmp_path / "sharded")
    shard(folder)
    again = weight_map(sides[0], open_checkpoint(str(folder)))
    assert [t.as_dict() for t in again.tensors] == [t.as_dict() for t in weight_map(*sides).tensors]


def test_added_tokens_are_left_out_and_what_cannot_be_compared_is_said(
    sides, planted_folders, tmp_path
):
    folder = copy_of(planted_folders[1], tmp_path / "more")

    def change(content):
        head = content["lm_head.weight"]
        content["lm_head.weight"] = torch.cat([head, torch.ones(2, head.shape[1])])
        content["model.layers.0.mlp.up_proj.weight"] = torch.ones(3, 5)
        content["model.layers.1.mlp.up_proj.weight"] = torch.ones(
            content["model.layers.1.mlp.up_proj.weight"].shape, dtype=torch.int8
        )
        content["extra.weight"] = content.pop("model.norm.weight")

    tensors(folder, change)
    found = weight_map(sides[0], open_checkpoint(str(folder)))
    by_name = {t.name: t for t in found.tensors}
    assert by_name["lm_head.weight"].relative == 0 and "first" in by_name["lm_head.weight"].note
    assert "do not match" in by_name["model.layers.0.mlp.up_proj.weight"].note
    packed = by_name["model.layers.1.mlp.up_proj.weight"]
    assert "I8" in packed.note and packed.relative is None and np.isnan(packed.value("relative"))
    assert found.only_student == ("model.norm.weight",) and found.only_teacher == ("extra.weight",)


def planted_change(kind, rows=320, columns=400):
    generator = torch.Generator().manual_seed(1)
    noise = torch.randn(rows, columns, generator=generator)
    if kind == "noise":
        return noise
    low = noise[:, :5] @ noise[:5]
    return low if kind == "low" else low + 2 * torch.randn(rows, columns, generator=generator)


@pytest.mark.parametrize("kind", ["noise", "low", "both"])
def test_a_randomised_rank_is_close_and_its_bounds_hold_the_exact_one(kind, monkeypatch):
    change = planted_change(kind)
    found, again = (effective_rank(change, seed=3) for _ in range(2))
    assert found == again
    monkeypatch.setattr(rank, "EXACT", 10_000)
    exact = effective_rank(change)
    assert exact.exact and exact.seen == 1
    assert exact.value == pytest.approx(entropy_rank(change), rel=1e-6)
    assert found.low * 0.999 <= exact.value <= found.high * 1.001
    assert found.value == pytest.approx(exact.value, rel=0.08)


def test_ranks_of_clear_cases():
    assert effective_rank(torch.ones(6, 9)).value == pytest.approx(1)
    assert effective_rank(torch.eye(70)).value == pytest.approx(70)
    assert effective_rank(torch.eye(7)[:, :4]).value == pytest.approx(4)


def test_memory_is_that_of_one_tensor_and_no_model_is_built(tmp_path, monkeypatch, sides):
    import transformers

    def refuse(*_, **__):
        raise AssertionError("a model was built")

    monkeypatch.setattr(transformers.PreTrainedModel, "__init__", refuse)
    monkeypatch.setattr(module, "_SLICE", 2**10)
    largest = max(int(np.prod(shape)) for shape in sides[0].shapes.values())
    with LiveBytes() as live:
        weight_map(*sides)
    assert live.peak < 4 * largest * 1.5 + 2**20


def test_a_stopped_sweep_keeps_what_it_has(sides):
    stop, seen = threading.Event(), []

    def progress(done, total):
        seen.append((done, total))
        if done == 2:
            stop.set()

    found = weight_map(*sides, "a pair", 0, progress, stop)
    assert len(found.tensors) == 2 < found.asked == seen[0][1]
    assert f"2 tensors of {found.asked}" in found.provenance and "a pair" in found.provenance


def test_checkpoints_without_a_common_name_are_refused(sides, planted_folders, tmp_path):
    folder = copy_of(planted_folders[1], tmp_path / "other")
    tensors(
        folder, lambda content: [content.update({f"x.{k}": content.pop(k)}) for k in [*content]]
    )
    with pytest.raises(PairError, match="share no tensor"):
        weight_map(sides[0], open_checkpoint(str(folder)))
