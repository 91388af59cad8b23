"""A machine and a model of round numbers, so that what is made of them can be written down."""

from __future__ import annotations

from moespac_nb.hardware.machine import Machine
from moespac_nb.hardware.model import DraftSpec, ModelSpec

MACHINE = Machine(
    name="small machine", about="", experts_in="host", memory_bytes=182_300, reserved_bytes=1000,
    memory_bytes_per_s=1000.0, flops_per_s=500.0, copy_alpha_s=0.25, link_bytes_per_s=300.0,
    host_memory_bytes=4800, host_read_bytes_per_s=800.0, host_expert_bytes_per_s=400.0,
    host_flops_per_s=200.0, planning_s=24.0, origins={},
)  # fmt: skip

# 3·10·10 weights an expert, 600 bytes, eight of them 4800. 200 + 10·4 + 300 weights a layer with experts; two
# dense layers of 200 + 3·10·20 and a head of 50·10.
MODEL = ModelSpec(
    name="small model", about="", layers=4, moe_layers=2, experts=4, top_k=1, hidden=10, expert_width=10,
    shared_experts=1, attention_parameters=200, dense_width=20, vocabulary=50, embedding_matrices=2,
    kv_values=16, context=4096, bits_per_weight=16,
    draft=DraftSpec(
        name="small draft", weights_bytes=1000, read_bytes=800, active_parameters=100, kv_bytes_per_token=12,
        overhead_s=0.5, workspace_bytes=300,
    ),
)  # fmt: skip
