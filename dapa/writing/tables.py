"""A result as a table in a file: CSV that says where it comes from and that runs no formula."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from typing import Any

from dapa.prompts.sets import neutralise

Row = Sequence[Any]


def csv_text(headers: Sequence[str], rows: Sequence[Row], provenance: str) -> str:
    """CSV whose first line is `# provenance`; text cells are neutralised, numbers are not.

    None and NaN become empty cells: what is not defined is not a number.
    """
    out = io.StringIO()
    out.write(f"# {' '.join(provenance.split())}\n")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([neutralise(header) for header in headers])
    writer.writerows([[_cell(value) for value in row] for row in rows])
    return out.getvalue()


def _cell(value: Any) -> Any:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return value if isinstance(value, int | float) else neutralise(value)
