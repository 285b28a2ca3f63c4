"""The commands of Localize, in the order in which a new pair is looked at."""

from dapa.cli.causes import patching, trace
from dapa.cli.diverging import divergence
from dapa.cli.standing import directions
from dapa.cli.summing import summary, whatif
from dapa.cli.weighing import gap, weights

maps = (gap, divergence, weights, trace, patching, directions, summary, whatif)
