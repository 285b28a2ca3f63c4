"""Layers that stay at home and visit the device; a pair's layout over several cards, simulated."""

import json
import threading

import pytest
import torch
from support import LAYERS, random_trio
from transformers import AutoConfig

from dapa.core.records import EMPTY, Mask, PairError, SettingError, Unit
from dapa.model import layout, machine, memory, pair
from dapa.model.adapted import open_checkpoint
from dapa.model.architectures import FAMILIES
from dapa.model.checkpoint import Checkpoint
from dapa.model.families import submodule
from dapa.model.layout import device_map, simulated, spread
from dapa.model.linears import Parted
from dapa.model.machine import choose_device, free_memory
from dapa.model.memory import by_layer, estimate_memory
from dapa.model.offload import Stage, stages_for
from dapa.model.pair_loading import load_pair
from dapa.model.spec import PairSpec
from dapa.model.transplant import masked

IDS = torch.tensor([[9, 14, 23, 31, 8], [40, 41, 42, 12, 7]])
MASKS = [Mask.of([Unit(0, "gate"), Unit(2, "mlp")]), Mask.of([Unit(1, "attention")])]


def offloaded(monkeypatch, device, **options):
    """A random trio whose pair was wrapped by stages of this device before it was made."""
    made = {}
    plain = pair.Pair.__init__

    def init(self, student, teacher, *args, **kwargs):
        made["stages"] = stages_for([student, teacher], FAMILIES["llama"], device)
        plain(self, student, teacher, *args, **kwargs)

    with monkeypatch.context() as during:
        during.setattr(pair.Pair, "__init__", init)
        trio = random_trio("llama", **options)
    trio.pair.offload(made["stages"], device)
    return trio


def logits(pair, masks, role="student"):
    model = pair.student if role == "student" else pair.teacher
    with torch.inference_mode(), masked(pair.plan(masks) if role == "student" else None):
        return model(IDS.to(pair.device)).logits


def test_an_offloaded_pair_says_what_it_says_whole(monkeypatch):
    whole, away = random_trio("llama"), offloaded(monkeypatch, "cpu")
    for rows in ([EMPTY, EMPTY], MASKS, [MASKS[0], EMPTY]):
        assert torch.equal(logits(whole.pair, rows), logits(away.pair, rows))
    assert torch.equal(logits(whole.pair, [], "teacher"), logits(away.pair, [], "teacher"))
    assert len(away.pair.stages) == LAYERS
    assert all(stage.carried == 4 for stage in away.pair.stages)


def test_every_weight_that_a_layer_needs_goes_with_it_and_comes_home(monkeypatch):
    whole, away = random_trio("llama"), offloaded(monkeypatch, "cpu")

    def spoil(stage):  # whoever uses a weight outside of its layer gets no number
        for weight, home in stage._home:
            weight.data = torch.full_like(home, torch.nan)

    monkeypatch.setattr(Stage, "_leave", spoil)
    for stage in away.pair.stages:
        spoil(stage)
    for rows in ([EMPTY, EMPTY], MASKS, [MASKS[0], EMPTY]):
        assert torch.equal(logits(whole.pair, rows), logits(away.pair, rows))
    assert torch.equal(logits(whole.pair, [], "teacher"), logits(away.pair, [], "teacher"))
    for role, model in (("student", away.pair.student), ("teacher", away.pair.teacher)):
        inside = {id(p) for i in range(LAYERS) for p in away.pair.layer(role, i).parameters()}
        for p in model.parameters():
            assert bool(p.isnan().all()) is (id(p) in inside)


def test_a_fused_weight_goes_along():
    layer = torch.nn.Linear(4, 6)

    parted, plain = Parted(layer, ("gate", "up")), layer(torch.ones(1, 4))
    stage = Stage("cpu")
    stage.wrap(parted)
    stage.fill([parted])
    assert len(stage._home) == 6, "the fused linear's weight and bias, and both parts' views"
    assert torch.equal(parted(torch.ones(1, 4)), plain)


def test_threads_share_a_layer_and_the_last_one_out_lets_go(monkeypatch):
    trio = offloaded(monkeypatch, "cpu")
    alone = {id(rows): logits(trio.pair, rows) for rows in (MASKS, MASKS[:1] * 2)}
    wrong = []

    def turn(rows):
        for _ in range(20):
            if not torch.equal(logits(trio.pair, rows), alone[id(rows)]):
                wrong.append(rows)

    cases = [rows for rows in (MASKS, MASKS[:1] * 2) for _ in range(3)]
    alone |= {id(rows): logits(trio.pair, rows) for rows in cases}
    threads = [threading.Thread(target=turn, args=(rows,)) for rows in cases]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    home = {x.data_ptr() for stage in trio.pair.stages for _, x in stage._home}
    layers = submodule(trio.pair.student, trio.pair.family.layers)
    assert all(p.data_ptr() in home for p in layers.parameters())


def test_memory_that_runs_out_half_way_brings_every_weight_home(monkeypatch):
    layer, stage, times = torch.nn.Linear(4, 4), Stage("cpu"), iter(range(9))
    stage.wrap(layer)
    stage.fill([layer])
    home = [p.data_ptr() for p in layer.parameters()]
    plain = torch.Tensor.to

    def short(x, *args, **kwargs):
        if next(times) == 1:
            raise MemoryError
        return plain(x, *args, **kwargs)

    with monkeypatch.context() as scarce:
        scarce.setattr(torch.Tensor, "to", short)
        with pytest.raises(MemoryError):
            layer(torch.ones(1, 4))
    assert [p.data_ptr() for p in layer.parameters()] == home
    assert layer(torch.ones(1, 4)).shape == (1, 4)


def test_a_gradient_of_an_offloaded_pair_is_refused_with_what_to_do(monkeypatch):
    from dapa.localize.causes.slopes import mask_gradients

    trio = offloaded(monkeypatch, "cpu")
    site = next(iter(trio.pair.sites))
    with pytest.raises(SettingError, match="offloaded; load it with memory full or lean"):
        mask_gradients(trio.pair, [(5, 6, 7)], [site], [0.5])


# -- how it is chosen ---------------------------------------------------------------------------


def test_auto_offloads_where_the_card_is_too_small_and_the_machine_is_not(
    planted_folders, monkeypatch
):
    ours, theirs = (open_checkpoint(str(folder)) for folder in planted_folders)

    def estimate(how, card, host):
        monkeypatch.setattr(memory, "free_memory", lambda device: host if device == "cpu" else card)
        return estimate_memory(ours, theirs, how, torch.float32, "cuda")

    big = estimate("auto", 2**40, 2**40)
    assert (big.mode, big.whole) == ("full", True)
    small = big.student + big.lean + big.work - 1
    away = estimate("auto", small, 2**40)
    assert (away.mode, away.whole, away.held) == ("offload", True, big.student + big.teacher)
    assert away.weights == away.ends + away.layer < away.held
    assert "offload, " in away.sentence and "machine's memory" in away.sentence
    assert json.dumps(away.as_dict())
    away.raise_if_too_large()
    part = estimate("auto", small, big.student + big.lean)
    assert (part.mode, part.whole) == ("offload", False)
    assert estimate("offload:gate", small, 2**40).held == big.student + big.lean
    assert estimate("auto", small, 1000).mode == "lean"
    with pytest.raises(PairError, match="of the machine's memory and .* free; use offload:gate"):
        estimate("offload", small, big.student + big.lean).raise_if_too_large()
    with pytest.raises(PairError, match="use lean memory, offload memory, bfloat16"):
        estimate("full", big.student + big.lean, 2**40).raise_if_too_large()
    with pytest.raises(SettingError, match="cpu has no memory of its own; use lean"):
        estimate_memory(ours, theirs, "offload", torch.float32, "cpu")


def test_an_offloaded_pair_loads_from_files_and_replies_as_the_whole_one(
    planted_folders, monkeypatch
):
    from dapa.model.decode.generation import Row, complete

    def load(how):
        spec = PairSpec(*map(str, planted_folders), dtype="float32", device="cpu", memory=how)
        return load_pair(spec)

    whole = load("full")
    monkeypatch.setattr(memory, "OFFLOADING", ("cpu",))  # the device is the machine itself
    away, parts = load("offload"), load("offload:gate")
    assert len(away.stages) == whole.n_layers and not parts.whole and away.whole
    mask = Mask.of(whole.units("gate"))
    ids = tuple(range(9, 17))
    said = [complete(p, [Row(ids, mask), Row(ids)]) for p in (whole, away, parts)]
    assert len({tuple(tuple(row.new_ids) for row in rows) for rows in said}) == 1


# -- 70B, simulated ------------------------------------------------------------------------------

LARGE = dict(
    hidden_size=8192, intermediate_size=28672, num_hidden_layers=80, num_attention_heads=64,
    num_key_value_heads=8, vocab_size=128256, tie_word_embeddings=False,
)  # fmt: skip


def headers(model, folder):
    """A checkpoint of this model of which only the config and the headers are there."""
    model.config.save_pretrained(folder)
    shapes = {name: tuple(p.shape) for name, p in model.named_parameters()}
    config, dtypes = model.config.to_dict(), dict.fromkeys(shapes, "BF16")
    return Checkpoint("large", folder, config, {}, shapes, dtypes, 0)


@pytest.fixture(scope="module")
def seventy():
    """A Llama of 70B on the meta device."""
    return simulated(AutoConfig.for_model("llama", **LARGE))


def test_a_pair_of_70b_is_reckoned_and_laid_out_without_one_number(seventy):
    assert all(p.is_meta for p in seventy.parameters())
    sizes = [(name, 2 * p.numel()) for name, p in seventy.named_parameters()]
    ends, layers = by_layer(sizes * 2)
    assert ends + sum(layers) == 4 * sum(p.numel() for p in seventy.parameters())
    assert 560e9 / 2 < ends + sum(layers) < 290e9 and len(layers) == 80
    where = spread(layers, ends, [80 * 2**30] * 4)
    assert where == sorted(where) and set(where) == {0, 1, 2, 3}
    counts = [where.count(card) for card in range(4)]
    assert max(counts) - min(counts) <= 3  # the ends stand on the first
    cards = [f"cuda:{i}" for i in where]
    told = device_map(seventy, FAMILIES["llama"], cards, "cuda:0")
    for name, _ in seventy.named_parameters():
        assert sum(name.startswith(f"{path}.") for path in told) == 1, name
    assert told["model.layers.79"] == "cuda:3"
    assert {told[n] for n in ("lm_head", "model.norm", "model.embed_tokens")} == {"cuda:0"}
    assert all(p.is_meta for p in seventy.parameters())
    with pytest.raises(PairError, match="on card 0, where 80.0 GiB are free; use lean or offload"):
        spread(layers, ends, [80 * 2**30] * 2)


def test_a_pair_of_70b_on_one_card_is_reckoned_to_be_offloaded(seventy, monkeypatch, tmp_path):
    large = headers(seventy, tmp_path)
    room = {"cuda": 80 * 2**30, "cpu": 500 * 2**30}
    monkeypatch.setattr(memory, "free_memory", lambda device: room[device])
    monkeypatch.setattr(memory, "parted", lambda ours, theirs: None)
    monkeypatch.setattr(memory, "quantised", lambda *args: "")
    monkeypatch.setattr(memory, "sizes", lambda *args: "")
    told = estimate_memory(large, large, "auto", torch.bfloat16, "cuda")
    assert (told.mode, told.whole) == ("offload", True)
    assert told.held == 4 * sum(p.numel() for p in seventy.parameters())
    assert told.weights < 13 * 2**30 and told.layer < 4 * 2**30
    told.raise_if_too_large()


def test_a_forward_of_the_simulated_70b_makes_no_number(seventy):
    from dapa.model.room import row_bytes

    size = row_bytes(seventy, 128, "meta")  # KV cache, states and logits of one row, in float32
    kv = 2 * 80 * 8 * 128 * 128 * 4
    assert kv < size < 3 * kv


# -- the machine's own limits --------------------------------------------------------------------


def test_limits_of_groups_of_either_version_and_of_groups_above_count(monkeypatch, tmp_path):
    monkeypatch.setattr(machine, "_CGROUP", tmp_path)
    own = tmp_path / "own"
    monkeypatch.setattr(machine, "_OWN_CGROUP", own)
    inner = tmp_path / "memory" / "docker" / "abc"
    inner.mkdir(parents=True)
    own.write_text("9:name=systemd:/\n8:cpu,memory:/docker/abc\n0::/\n")
    for place, limit in ((inner, 2000), (inner.parent, 900)):
        (place / "memory.limit_in_bytes").write_text(f"{limit}\n")
        (place / "memory.usage_in_bytes").write_text("700\n")
        (place / "memory.stat").write_text("total_inactive_file 100\n")
    assert free_memory("cpu") == 300
    (inner.parent / "memory.limit_in_bytes").write_text("9223372036854771712\n")
    assert free_memory("cpu") == 1400
    own.write_text("0::/../../elsewhere\n")
    assert free_memory("cpu") > 2**20


def test_a_limit_on_addresses_counts_as_the_memory(monkeypatch):
    import resource

    import psutil

    used = psutil.Process().memory_info().vms
    monkeypatch.setattr(resource, "getrlimit", lambda what: (used + 2**24, used + 2**24))
    assert 0 <= free_memory("cpu") <= 2**24


@pytest.mark.parametrize("kind", ["mps", "xpu"])
def test_devices_of_other_makers_are_taken_where_torch_has_them(kind, monkeypatch):
    assert getattr(torch, kind).is_available() is False, "write the test anew where there is one"
    with pytest.raises(PairError, match=f"torch sees no {kind.upper()}; use cpu"):
        choose_device(kind)
    monkeypatch.setattr(getattr(torch, kind), "is_available", lambda: True)
    assert choose_device(kind) == kind
    with pytest.raises(PairError, match="is not a device"):
        choose_device("mps:1")


def test_all_cards_are_one_device_to_ask_for(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    assert choose_device("cuda:all") == "cuda:all"
    assert machine.cards("cuda:all") == ["cuda:0", "cuda:1", "cuda:2"]
    assert layout.placed(None, None, torch.float32, "cuda:1") == "cuda:1"
