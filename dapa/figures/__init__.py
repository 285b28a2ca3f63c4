"""Record -> plotly Figure: the only wing that knows plotly, and it knows nothing else.

A record is taken by its shape (see the protocols), so that this floor needs no torch.
"""

from dapa.figures.dsr import dsr_curve
from dapa.figures.maps import divergence_heatmap, layer_prompt_heatmap, layer_token_heatmap
from dapa.figures.rates import rates_chart
from dapa.figures.search import search_heatmap

__all__ = [
    "divergence_heatmap",
    "dsr_curve",
    "layer_prompt_heatmap",
    "layer_token_heatmap",
    "rates_chart",
    "search_heatmap",
]
