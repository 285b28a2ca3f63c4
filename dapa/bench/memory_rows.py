"""e: bytes of weights that a pair holds, against the models' own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from dapa.bench.rivals import weight_bytes
from dapa.bench.row import BenchRow, share
from dapa.bench.scene import Scene
from dapa.model.pair_loading import load_pair
from dapa.model.spec import PairSpec


def rows(scene: Scene, goals: tuple[str, str] = ("<= 1.10", "<= 0.65")) -> Iterator[BenchRow]:
    """e1 full, e2 lean memory; distinct storages, activations and KV apart."""
    student, teacher = scene.rivals
    apart = weight_bytes(student) + weight_bytes(teacher)
    copies = apart + weight_bytes(student)
    what = "weights of a pair with any number of patched variants / (student + teacher)"
    yield share("e1", f"{what}, full; three copies take {copies:,}", scene.pair.weight_bytes,
                "student + teacher", apart, goals[0], "bytes")  # fmt: skip
    held, how = _lean(scene)
    yield share("e2", f"{what}, lean: the student and the teacher's gates; {how}", held,
                "student + teacher", apart, goals[1], "bytes")  # fmt: skip


def _lean(scene: Scene) -> tuple[int, str]:
    """Bytes that lean memory holds, and how they were found."""
    student, teacher = scene.rivals
    if scene.device != "cpu":  # tens of GB would go to disk and back
        gates = [site.teacher for where, site in scene.pair.sites.items() if where.module == "gate"]
        return weight_bytes(scene.pair.student, *gates), "counted in the loaded pair"
    with TemporaryDirectory() as folder:
        places = [Path(folder) / role for role in ("student", "teacher")]
        for place, model in zip(places, (student, teacher), strict=True):
            model.save_pretrained(place)
            scene.tokenizer.save_pretrained(place)
        dtype = str(scene.dtype).removeprefix("torch.")
        spec = PairSpec(*map(str, places), dtype=dtype, device="cpu", memory="lean")
        return load_pair(spec).weight_bytes, "loaded from files"
