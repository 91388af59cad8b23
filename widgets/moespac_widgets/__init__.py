"""What readers look at: views of a decode for notebooks. Imports moespac_nb, never the other way round."""

from .balancer_explorer import BalancerExplorer
from .budget_figure import budget_figure
from .budget_lab import BudgetLab
from .dashboard import Dashboard
from .demand_figure import demand_figure
from .demand_map import DemandMap
from .exercises import check, predict, reveal
from .growing_text import GrowingText
from .live_view import LiveView
from .page import write_page
from .parts_figure import parts_figure
from .placement_graph import PlacementGraph
from .race import Race
from .residency_figure import residency_figure
from .stepper import Stepper
from .tables import table
from .timeline import Timeline
from .timeline_figure import busy, timeline_figure
from .utility_inspector import UtilityInspector
from .utility_trail import utility_over_time

__all__ = [
    "BalancerExplorer",
    "BudgetLab",
    "Dashboard",
    "DemandMap",
    "GrowingText",
    "LiveView",
    "PlacementGraph",
    "Race",
    "Stepper",
    "Timeline",
    "UtilityInspector",
    "budget_figure",
    "busy",
    "check",
    "demand_figure",
    "parts_figure",
    "predict",
    "residency_figure",
    "reveal",
    "table",
    "timeline_figure",
    "utility_over_time",
    "write_page",
]
