"""The workbench: owns the pair, the store and the background jobs."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any

from dapa.core.html import Html, html
from dapa.core.masks import EMPTY, Mask
from dapa.core.measurement import Call, Measured, Measurement
from dapa.workbench.keeping import Keeping
from dapa.workbench.localize import Seeing
from dapa.workbench.measurements import measurements
from dapa.workbench.search import Searching


@dataclass(frozen=True)
class Drawn(Measured):
    """A measurement that a notebook shows as its pictures."""

    of: Measurement
    """Which it is."""

    @property
    def page(self) -> Html:
        """One HTML document that needs nothing else: the finding and the pictures."""
        from dapa.figures.html_page import html_page  # plotly takes a moment

        told = self.of.describe(self.record)
        figures = self.of.figures(self.record, False) if self.of.figures else ()
        note = " ".join([told.finding, *told.warnings, *told.notes])
        return html_page(self.of.heading, self.origin, figures, note)

    def _repr_html_(self) -> Html:
        """A frame, so that neither the pictures' scripts nor the notebook's reach the other."""
        tall = 240 + 520 * (len(self.of.figures(self.record, False)) if self.of.figures else 0)
        return html(
            '<iframe title="{}" sandbox="allow-scripts allow-downloads" '
            'style="width:100%;height:{}px;border:0" srcdoc="{}"></iframe>',
            self.of.heading, tall, str(self.page),
        )  # fmt: skip


class Workbench(Seeing, Searching, Keeping):
    """One pair, one store, any number of jobs and conversations at once."""

    def measure(
        self, name: str, mask: Mask = EMPTY, kind: str = "gate", job: Any = None, **settings: Any
    ) -> Drawn:
        """One of the measurements by its name, as screen and command line take it.

        A notebook that ends a cell with it draws it.

        Args:
            name: In the table of measurements, as in `gap`.
            mask: What is transplanted, where the patched model is shown.
            kind: The kind of site, where units of a kind are measured.
            job: The finished search, where one is measured.
            settings: Of the measurement's own settings.

        Raises:
            DapaError: A name or setting that does not exist, or what cannot be measured.
        """
        one = measurements[name]
        asked = one.settings.read(settings)
        told = one.run(Call(self, asked, kind=kind, mask=mask, job=job))
        return Drawn(told.record, told.origin, one)

    def app(self, **options: Any) -> Any:
        """The dashboard over this workbench as Gradio's Blocks; `launch()` shows it in a notebook.

        Args:
            options: `hosts`, more names that it answers to; `frame`, whose pages may show it; and
                `auth`, (user, password).
        """
        # The screen stands above the workbench, which knows it by name alone.
        return import_module("dapa.ui.serve").in_notebook(self, **options)

    def _repr_html_(self) -> Html:
        """What a notebook shows of the workbench itself."""
        if not self.loaded:
            return html("<p>A workbench without a pair: <code>load(spec('toy-gate'))</code></p>")
        pair = self.pair
        names = ", ".join(name for name in measurements if measurements[name].of == "pair")
        return html(
            "<p><b>{}</b>: {} layers on {}. <code>measure(name)</code> draws one of {}.</p>",
            pair.spec.title, pair.n_layers, pair.device, names,
        )  # fmt: skip
