__version__: str

# Load what comes with the package, or a model of your own
from .datasets.prompts import DOMAINS as DOMAINS
from .datasets.prompts import load_prompts as load_prompts
from .datasets.published import mean_by_system as mean_by_system
from .datasets.published import published_speeds as published_speeds
from .datasets.traces import list_traces as list_traces
from .datasets.traces import load_trace as load_trace
from .importing.reading import import_trace as import_trace
from .models.loading import load_model as load_model
from .models.loading import load_pair as load_pair

# Decode speculatively, and record it
from .decoder.callbacks import DecodeCallback as DecodeCallback
from .decoder.drafts import NgramDraft as NgramDraft
from .decoder.gamma import AdaptiveGamma as AdaptiveGamma
from .decoder.recording import record as record
from .decoder.sampling import Sampling as Sampling
from .decoder.speculative import decode as decode
from .trace.cache_bounds import belady_hits as belady_hits
from .trace.cache_bounds import lru_hits as lru_hits
from .trace.transforms.counterfactual import improve_draft as improve_draft
from .trace.locality import expert_usage as expert_usage
from .trace.step import MoEShape as MoEShape
from .trace.step import Prefill as Prefill
from .trace.step import Step as Step
from .trace.step import expert_counts as expert_counts
from .trace.transforms.speculation import accepted_lengths as accepted_lengths
from .trace.transforms.speculation import speculate as speculate
from .trace.transforms.stacking import stack_layers as stack_layers
from .trace.trace import Trace as Trace
from .trace.windows import iter_windows as iter_windows
from .trace.windows import verified_tokens as verified_tokens

# Estimate what the next window needs
from .estimator.evaluation import EVIDENCE as EVIDENCE
from .estimator.evaluation import evaluate_predictors as evaluate_predictors
from .estimator.evaluation import recall_by_predictor as recall_by_predictor
from .estimator.sensors import SENSORS as SENSORS
from .estimator.sensors import Sensor as Sensor
from .estimator.sensors import VerifyCounts as VerifyCounts
from .estimator.sensors import make_sensor as make_sensor
from .estimator.utility import RULES as RULES
from .estimator.utility import Estimator as Estimator
from .estimator.utility import make_estimator as make_estimator

# Balance: which experts are worth a slot
from .balancer import Balancer as Balancer
from .balancer import Candidates as Candidates
from .balancer import Demand as Demand
from .balancer import Joint as Joint
from .balancer import LaneTimes as LaneTimes
from .balancer import LevelRates as LevelRates
from .balancer import PerExpert as PerExpert
from .balancer import PerExpertSolution as PerExpertSolution
from .balancer import PerLayer as PerLayer
from .balancer import Thresholds as Thresholds
from .balancer import candidates as candidates
from .balancer import solve as solve

# Execute: slots, copies and lanes
from .engine.devices import CudaDevice as CudaDevice
from .engine.devices import HostDevice as HostDevice
from .engine.devices import Operation as Operation
from .engine.devices import OperationError as OperationError
from .engine.devices import VirtualDevice as VirtualDevice
from .engine.engine import Engine as Engine
from .engine.scheduler import Scheduler as Scheduler

# Compare policies, in replay and live
from .engine.policy import Policy as Policy
from .offloading.session import offload as offload
from .offloading.session import offloaded as offloaded
from .policies import POLICIES as POLICIES
from .policies import compose_policy as compose_policy
from .policies import get_policy as get_policy
from .simulation.balancer_log import record_balancer_inputs as record_balancer_inputs
from .simulation.replay import replay as replay
from .simulation.result import Result as Result
from .simulation.slot_history import slot_history as slot_history

# Machines, model sizes and memory
from .hardware.budget import Budget as Budget
from .hardware.budget import parse_budget as parse_budget
from .hardware.calibration import calibrate as calibrate
from .hardware.costs import Costs as Costs
from .hardware.costs import cost_model as cost_model
from .hardware.machine import Machine as Machine
from .hardware.machine import list_machines as list_machines
from .hardware.machine import load_machine as load_machine
from .hardware.memory_plan import MemoryPlan as MemoryPlan
from .hardware.memory_plan import plan_memory as plan_memory
from .hardware.model import ModelSpec as ModelSpec
from .hardware.model import list_model_specs as list_model_specs
from .hardware.model import load_model_spec as load_model_spec

# Errors
from .utils.exceptions import MoespacError as MoespacError
