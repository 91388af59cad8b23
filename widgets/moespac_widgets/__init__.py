"""What readers look at: views of a decode for notebooks. Imports moespac_nb, never the other way round."""

from .demand import demand_figure
from .growing_text import GrowingText
from .tables import table

__all__ = ["GrowingText", "demand_figure", "table"]
