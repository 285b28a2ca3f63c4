"""e: bytes of weights that a pair holds, against the models' own."""

from __future__ import annotations

from collections.abc import Iterator

from dapa.bench.rivals import weight_bytes
from dapa.bench.row import Row, absent, share
from dapa.bench.scene import Scene


def rows(scene: Scene, goals: tuple[str, str] = ("<= 1.10", "<= 0.65")) -> Iterator[Row]:
    """e1 full, e2 lean memory; distinct storages, activations and KV apart."""
    student, teacher = scene.rivals
    apart = weight_bytes(student) + weight_bytes(teacher)
    pair = scene.pair
    held = weight_bytes(pair.student, pair.teacher)
    copies = apart + weight_bytes(student)
    what = "weights of a pair with any number of patched variants / (student + teacher)"
    yield share("e1", f"{what}, full; three copies take {copies:,}", held, "student + teacher",
                apart, goals[0], "bytes")  # fmt: skip
    yield absent("e2", f"{what}, lean", "bytes", "student + teacher", goals[1],
                 "lean memory is not built yet")  # fmt: skip
