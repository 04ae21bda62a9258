"""Dead channels filled from their neighbours by a small graph ahead of the network's.

No training and no torch: the graphs are written by hand, joined with a bundle's graph when it is
run, and kept in the user's cache.  A channel that has been filled is no longer dead for the
network, and has no time; one without a live neighbour stays dead.
"""

from xec_deploy.inpaint.estimate import fill_neighbours, fill_solid_angle
from xec_deploy.inpaint.filler import FILLERS, Filler, FillerName, filler_graph

__all__ = [
    "FILLERS",
    "Filler",
    "FillerName",
    "fill_neighbours",
    "fill_solid_angle",
    "filler_graph",
]
