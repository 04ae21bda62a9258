"""Index maps that checkpoints carry beside their weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from xec_deploy.detector.layout import IntArray, LayoutName

__all__ = ["IndexedModule"]


class IndexedModule(nn.Module):
    """A module with index maps among its buffers.

    Maps say which layout the weights belong to: one that differs from the built one is an error
    of a strict load.  Indices that merely point somewhere are taken from the checkpoint, within
    their bounds.
    """

    def __init__(self, layout: LayoutName) -> None:
        super().__init__()
        self._layout_name = layout
        self._maps: list[str] = []
        self._bounds: dict[str, int] = {}

    def register_map(self, name: str, ids: IntArray) -> None:
        """Add a buffer that every checkpoint must agree with."""
        self.register_buffer(name, torch.from_numpy(ids.copy()))
        self._maps.append(name)

    def register_indices(self, name: str, ids: IntArray, bound: int) -> None:
        """Add a buffer of indices below ``bound`` that a checkpoint may replace."""
        self.register_buffer(name, torch.from_numpy(ids.copy()))
        self._bounds[name] = bound

    def _load_from_state_dict(
        self, state_dict: Mapping[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        # Reported with the other mismatches of a strict load, as `error_msgs`.
        errors: list[str] = args[-1]
        for name in self._maps:
            loaded: Tensor | None = state_dict.get(prefix + name)
            if loaded is not None and not torch.equal(loaded.cpu(), getattr(self, name).cpu()):
                errors.append(
                    f"{prefix}{name} is not the index map of layout {self._layout_name!r}"
                )
        for name, bound in self._bounds.items():
            loaded = state_dict.get(prefix + name)
            if loaded is not None and (
                loaded.is_floating_point() or bool(((loaded < 0) | (loaded >= bound)).any())
            ):
                errors.append(f"{prefix}{name} holds indices outside 0 to {bound - 1}")
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
