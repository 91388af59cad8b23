"""What readers look at: views of a decode for notebooks. Imports moespac_nb, never the other way round."""

from .demand import demand_figure
from .growing_text import GrowingText
from .live_view import LiveView
from .page import write_page
from .stepper import Stepper
from .tables import table

__all__ = ["GrowingText", "LiveView", "Stepper", "demand_figure", "table", "write_page"]
