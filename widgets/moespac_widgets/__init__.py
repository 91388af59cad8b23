"""What readers look at: views of a decode for notebooks. Imports moespac_nb, never the other way round."""

from .balancer_explorer import BalancerExplorer
from .budget_figure import budget_figure
from .demand import demand_figure
from .growing_text import GrowingText
from .live_view import LiveView
from .page import write_page
from .residency import residency_figure
from .stepper import Stepper
from .tables import table
from .timeline import Timeline
from .timeline_figure import busy, timeline_figure

__all__ = [
    "BalancerExplorer",
    "GrowingText",
    "LiveView",
    "Stepper",
    "Timeline",
    "budget_figure",
    "busy",
    "demand_figure",
    "residency_figure",
    "table",
    "timeline_figure",
    "write_page",
]
