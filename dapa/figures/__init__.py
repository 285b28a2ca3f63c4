"""Record -> plotly Figure: the only wing that knows plotly, and it knows nothing else.

A record is taken by its shape (see the protocols), so that this floor needs no torch.
"""

from dapa.figures.curves import dose_chart
from dapa.figures.inner import category_heatmap, interaction_heatmap
from dapa.figures.maps import divergence_heatmap, layer_prompt_heatmap, layer_token_heatmap
from dapa.figures.pareto import pareto_chart
from dapa.figures.rates import rates_chart

__all__ = [
    "category_heatmap",
    "divergence_heatmap",
    "dose_chart",
    "interaction_heatmap",
    "layer_prompt_heatmap",
    "layer_token_heatmap",
    "pareto_chart",
    "rates_chart",
]
