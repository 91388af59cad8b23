__version__: str

from .datasets.prompts import DOMAINS as DOMAINS
from .datasets.prompts import load_prompts as load_prompts
from .decoder.recording import record as record
from .decoder.sampling import Sampling as Sampling
from .decoder.speculative import decode as decode
from .models.loading import load_model as load_model
from .models.loading import load_pair as load_pair
from .offloading.session import offload as offload
from .offloading.session import offloaded as offloaded
from .trace.step import Prefill as Prefill
from .trace.step import Step as Step
from .trace.trace import Trace as Trace
from .utils.exceptions import MoespacError as MoespacError
