"""The formats that routing is imported from, each a page of its own."""

from __future__ import annotations

from ..head import Format
from . import (
    actives,
    atlas,
    moevm_rows,
    policylang,
    route_csv,
    routed_experts,
    router_data,
    vllm_routes,
    warp_tokens,
)

__all__ = ["FORMATS"]

FORMATS: dict[str, Format] = {
    module.FORMAT.name: module.FORMAT
    for module in (
        moevm_rows,
        warp_tokens,
        router_data,
        route_csv,
        vllm_routes,
        routed_experts,
        actives,
        policylang,
        atlas,
    )
}
