"""The commands of Localize, in the order in which a new pair is looked at."""

from dapa.cli.causes import patching, trace
from dapa.cli.diverging import divergence
from dapa.cli.standing import directions
from dapa.cli.summing import summary, whatif

maps = (divergence, trace, patching, directions, summary, whatif)
