"""Lean memory: the same tokens from fewer bytes, and a plain word where the teacher is needed."""

import json
from copy import deepcopy

import pytest
import torch
from support import BASE, EQUAL_GATE, TOKENIZER, random_trio

from dapa.cli import main
from dapa.core.records import EMPTY, OUTSIDE, Mask, PairError, SettingError, Site, Unit
from dapa.localize.causes.gradients import integrated_gradients
from dapa.localize.divergence.divergence import divergence
from dapa.localize.gap import gap_budget
from dapa.model import checkpoint, memory
from dapa.model.adapted import open_checkpoint
from dapa.model.decode.generation import Row, complete
from dapa.model.decode.sampling import Decoding
from dapa.model.families import MIXTURE
from dapa.model.lean import NotInMemory
from dapa.model.memory import estimate_memory, parse_memory
from dapa.model.pair_loading import load_pair
from dapa.model.presets import preset
from dapa.model.spec import PairSpec
from dapa.model.substitution import given_back
from dapa.planted.pairs import harmful_prompts, harmless_prompts
from dapa.prompts.format import PromptFormat
from dapa.workbench import Workbench

IDS = [(9, 14, 23), (40, 41, 42, 12, 7)]


def spec(places, how):
    return PairSpec(*map(str, places), dtype="float32", device="cpu", memory=how)


def save(trio, folder):
    for role, model in (("student", trio.student), ("teacher", trio.teacher)):
        deepcopy(model).save_pretrained(folder / role)
        TOKENIZER.save_pretrained(folder / role)
    return folder / "student", folder / "teacher"


@pytest.fixture(scope="module", params=BASE)
def places(request, tmp_path_factory):
    """A random pair of each family that differs everywhere but in one gate, as folders."""
    return save(random_trio(request.param), tmp_path_factory.mktemp("lean"))


def tokens(pair, masks):
    rows = [Row(ids, mask) for mask in masks for ids in IDS]
    return [row.new_ids for row in complete(pair, rows, Decoding(8))]


def test_lean_and_full_memory_give_the_same_tokens_and_the_same_digest(places):
    full = load_pair(spec(places, "full"))
    for kept, masks in (
        (
            "gate",
            [
                EMPTY,
                Mask.of(full.units("gate")),
                Mask.of([Unit(0), Unit(2, "gate", (3, 9))]),
                Mask.of([Unit(0)], 0.3),
            ],
        ),
        (
            "mlp,attention,head",
            [
                Mask.of(full.units("mlp,attention,head")),
                Mask(((Unit(0, "mlp"), 0.5), (Unit(1, "v"), 1.0), (Unit(2, "down", (0, 5)), 1.0))),
                Mask.of([Unit(OUTSIDE, "head")]),
            ],
        ),
    ):
        lean = load_pair(spec(places, f"lean:{kept}"))
        assert not lean.whole and lean.digest == full.digest
        assert tokens(lean, masks) == tokens(full, masks)
        for mask in masks:
            assert lean.share(mask) == full.share(mask)


def test_no_other_tensor_of_the_teacher_is_opened(places, monkeypatch):
    opened = []
    plain = checkpoint.safe_open

    def watched(path, framework):
        file = plain(path, framework)

        class Watched:
            def __enter__(self):
                self.file = file.__enter__()
                return self

            def __exit__(self, *error):
                return file.__exit__(*error)

            def __getattr__(self, name):
                return getattr(self.file, name)

            def get_tensor(self, name):
                opened.append((path.parent.name, name))
                return self.file.get_tensor(name)

        return Watched()

    monkeypatch.setattr(checkpoint, "safe_open", watched)
    pair = load_pair(spec(places, "lean"))
    assert {role for role, _ in opened} == {"student", "teacher"}
    assert all(".mlp.gate_proj." in name for _, name in opened)
    assert {site.module for site in pair.sites} == {"gate"}


def test_the_weights_held_are_the_student_and_the_gates_that_differ(places):
    lean, full = (load_pair(spec(places, how)) for how in ("lean", "full"))
    ours = sum(p.nbytes for p in full.student.parameters())
    theirs = sum(p.nbytes for p in full.teacher.parameters())
    extra = sum(b.nbytes for b in full.student.buffers())
    gates = [s.teacher.weight.nbytes for s in lean.sites.values() if s.site.layer != EQUAL_GATE]
    assert lean.weight_bytes - ours - sum(gates) in range(2 * extra + 1)
    equal = lean.sites[Site(EQUAL_GATE, "gate")]
    assert equal.teacher.weight.data_ptr() == equal.student.weight.data_ptr()
    assert full.weight_bytes <= 1.10 * (ours + theirs)


def test_a_lean_toy_pair_stays_under_two_thirds_and_a_full_one_near_one():
    lean, full = (
        load_pair(preset("toy-gate").spec("float32", "cpu", how)) for how in ("lean", "full")
    )
    apart = sum(p.nbytes for m in (full.student, full.teacher) for p in m.parameters())
    assert lean.weight_bytes / apart <= 0.65
    assert full.weight_bytes / apart <= 1.10


@pytest.mark.parametrize("tie", [False, True])
def test_embeddings_can_be_kept_too(tie, tmp_path):
    ours = save(random_trio("llama", tie_word_embeddings=tie), tmp_path)
    full, lean = (load_pair(spec(ours, how)) for how in ("full", "lean:embeddings"))
    assert lean.tied == full.tied == tie
    masks = [Mask.of(full.units("embeddings"), strength) for strength in (1.0, 0.5)]
    assert tokens(lean, masks) == tokens(full, masks)


# -- what works and what is off ------------------------------------------------------------------


@pytest.fixture(scope="module")
def bench(planted_folders, tmp_path_factory):
    made = Workbench(tmp_path_factory.mktemp("runs"))
    made.load(spec(planted_folders, "lean"))
    return made


def test_searching_toggling_and_local_maps_work(bench, tmp_path):
    prompts = harmful_prompts(6)
    exchange = bench.generate(prompts[0], Mask.of([Unit(1), Unit(2)]))
    assert [pane.name for pane in exchange.panes] == ["student", "patched"]
    assert str(exchange.pane("patched").verdict.label) == "refusal"
    assert bench.divergence(prompts).sites == ("gate",)
    ids = [tuple(bench.pair.tokenizer(p)["input_ids"]) for p in prompts[:2]]
    assert set(integrated_gradients(bench.pair, ids).ranked[:2]) == {Unit(1), Unit(2)}
    words = tmp_path / "harmful.txt"
    words.write_text("\n".join(harmful_prompts(24)), encoding="utf-8")
    from dapa.search.settings import SearchSettings

    job = bench.search_job(SearchSettings(prompts=str(words), max_new_tokens=12, prompt_limit=12))
    report = job.run()
    assert report.layers == (1, 2) and report.one_minimal
    rows = {row.name: row for row in bench.baselines(job).rows}
    assert "needs the whole teacher" in rows["teacher"].note
    assert rows["found"].search.value == 1.0
    sham = bench.placebos(job)
    assert not sham.effects and sham.complete
    with pytest.raises(NotInMemory, match="whole teacher"):
        bench.necessity(job)


def test_what_needs_the_whole_teacher_says_so_with_the_next_step(bench):
    pair, prompts = bench.pair, harmful_prompts(2)
    from dapa.prompts.format import Turn

    off = [
        lambda: list(bench.chat({"teacher": [Turn("user", prompts[0])]}, EMPTY)),
        lambda: divergence(pair, prompts, PromptFormat(), reading="total"),
        lambda: gap_budget(pair, prompts, PromptFormat()),
        lambda: given_back(pair, Mask.of([Unit(1)])),
        lambda: complete(pair, [Row((9, 14))], role="teacher"),
        lambda: pair.teacher(torch.tensor([[1, 2]])),
        lambda: pair.layer("teacher", 0),
    ]
    for ask in off:
        with pytest.raises(NotInMemory, match="only its gate; load the pair with full memory"):
            ask()
    with pytest.raises(SettingError, match="'residual' is not a site"):
        divergence(pair, prompts, PromptFormat(), sites=["residual"])
    with pytest.raises(SettingError, match="memory lean:up, or full, to move up"):
        pair.units("up")
    with pytest.raises(SettingError, match="holds only gate"):
        pair.validate(Mask.of([Unit(0, "mlp")]))


# -- how it is chosen ----------------------------------------------------------------------------


def test_memory_is_written_as_a_mode_with_kinds():
    assert parse_memory("auto") == ("auto", ("gate",))
    assert parse_memory("lean:mlp") == ("lean", ("gate", "up", "down", *MIXTURE))
    assert parse_memory("lean: gate, head") == ("lean", ("gate", "head"))
    for text in ("", "fat", "lean:", "lean:knee"):
        with pytest.raises(SettingError):
            parse_memory(text)


def test_the_estimate_is_told_from_headers_and_auto_takes_what_fits(planted_folders, monkeypatch):
    ours, theirs = (open_checkpoint(str(folder)) for folder in planted_folders)

    def estimate(how, free):
        monkeypatch.setattr(memory, "free_memory", lambda device: free)
        return estimate_memory(ours, theirs, how, torch.float32, "cpu")

    much = estimate("auto", 2**40)
    pair = load_pair(spec(planted_folders, "full"))
    assert much.mode == "full"
    assert much.student == much.teacher == sum(p.nbytes for p in pair.student.parameters())
    gates = sum(s.weight.nbytes for where, s in pair.sites.items() if where.module == "gate")
    assert much.lean == gates and much.weights == much.student + much.teacher
    assert much.work > 0 and json.dumps(much.as_dict())
    little = estimate("auto", much.student + much.lean)
    assert little.mode == "lean" and little.weights == much.student + much.lean
    little.raise_if_too_large()
    assert estimate("full", much.student + much.lean).mode == "full"
    with pytest.raises(PairError, match="use lean memory, bfloat16"):
        estimate("full", much.student + much.lean).raise_if_too_large()
    with pytest.raises(PairError, match="MiB are free on cpu; use bfloat16"):
        estimate("lean", 1000).raise_if_too_large()
    with pytest.raises(SettingError, match="none of the sites"):
        estimate("lean:q_norm", 2**40)
    half = estimate_memory(ours, theirs, "full", torch.bfloat16, "cpu")
    assert 2 * half.student == much.student


def test_a_pair_that_does_not_fit_whole_is_loaded_lean(planted_folders, monkeypatch):
    monkeypatch.setattr(memory, "free_memory", lambda device: 600_000)
    ours, theirs = (open_checkpoint(str(folder)) for folder in planted_folders)
    told = estimate_memory(ours, theirs, "auto", torch.float32, "cpu")
    monkeypatch.setattr(
        memory, "free_memory", lambda device: told.student + told.teacher + told.work - 1
    )
    assert not load_pair(spec(planted_folders, "auto")).whole
    monkeypatch.setattr(
        memory, "free_memory", lambda device: told.student + told.teacher + told.work
    )
    assert load_pair(spec(planted_folders, "auto")).whole


def test_the_command_line_tells_the_estimate_and_loads_lean(planted_folders, tmp_path, capfd):
    student, teacher = map(str, planted_folders)
    pair = ["--student", student, "--teacher", teacher, "--dtype", "float32"]

    def dapa(*arguments):
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([str(a) for a in arguments])
        out, err = capfd.readouterr()
        return ended.value.code, out, err

    code, out, _ = dapa("check", *pair, "--json", "-")
    told = json.loads(out)["memory"]
    assert code == 0 and told["mode"] == "full" and told["lean"] < told["teacher"]
    code, out, _ = dapa("check", *pair, "--memory", "lean:mlp")
    assert (
        code == 0 and "lean" in out and "with only its gate, up, down held" in " ".join(out.split())
    )
    ask = ["generate", *pair, "--prompt", harmful_prompts(1)[0], "--json", "-"]
    code, out, _ = dapa(*ask, "--memory", "lean", "--units", "1-2.layer")
    assert code == 0 and json.loads(out)["patched"]["verdict"] == "refusal"
    assert "teacher" not in json.loads(out)
    for name, prompts in (("bad.txt", harmful_prompts(8)), ("good.txt", harmless_prompts(8))):
        (tmp_path / name).write_text("\n".join(prompts), encoding="utf-8")
    sets = ["--prompts", tmp_path / "bad.txt", "--harmless", tmp_path / "good.txt"]
    options = ["--layers", "1,2", "--memory", "lean", "--json", "-", "--run-dir", tmp_path]
    code, out, err = dapa("evaluate", *pair, *sets, *options)
    assert code == 0, err
    assert json.loads(out)["models"]["patched"]["dsr"]["value"] == 1.0
    code, out, err = dapa(*ask, "--memory", "thin")
    assert (code, out) == (2, "") and "'thin'" in err and err.count("\n") == 1


def test_the_screen_says_what_lean_memory_leaves_out(bench):
    from dapa.chat.sessions import Talk
    from dapa.ui import header, strip
    from dapa.ui.dashboard import Dashboard
    from dapa.ui.session import fresh
    from dapa.ui.tabs.chat.panes import View, draw

    dashboard = Dashboard(bench)
    assert "lean memory: of the teacher only gate" in header.draw(dashboard)
    html = draw(Talk(), View(whole=False))
    assert "Off: in lean memory only some of its sites are loaded." in html
    assert "Off:" not in draw(Talk(), View())
    shown = strip.draw(dashboard, fresh(dashboard.epoch, bench.pair))
    assert shown.count('role="gridcell"') == 4 and "of 4 gates" in shown
