"""Faces of the same shape and network in one pass, as twice the batch."""

from __future__ import annotations

from itertools import groupby
from typing import Final

import torch
from torch import Tensor, nn

from xec_deploy.export.rewrites.replace import replace
from xec_train.models.research.encoder import XECEncoder

__all__ = ["PairedEncoder", "pair_faces"]

PAIRS: Final = {
    "upstream": ("upstream", "downstream"),
    "downstream": ("upstream", "downstream"),
    "top": ("top", "bottom"),
    "bottom": ("top", "bottom"),
}
"""The pair a face belongs to; its tokens are neighbours."""


def pair_faces(module: nn.Module) -> nn.Module:
    """Encode upstream and downstream faces together, and the hexagonal ones."""
    return replace(module, XECEncoder, PairedEncoder)


class PairedEncoder(nn.Module):
    """:class:`~xec_train.models.research.encoder.XECEncoder`, like faces in one pass."""

    def __init__(self, encoder: XECEncoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.tokens = encoder.tokens
        for pair in set(PAIRS.values()):
            ids = [getattr(encoder.layout, face).flatten() for face in pair]
            both = torch.cat([torch.from_numpy(face) for face in ids])
            self.register_buffer(f"_{pair[0]}", both, persistent=False)

    def face(self, name: str, x: Tensor) -> Tensor:
        """Return what the network sees of a face; see the original."""
        return self.encoder.face(name, x)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Turn (batch, 4760, 2) into tokens (batch, tokens, encoder_dim); see the original."""
        visible = None if mask is None else (1 - mask.to(x.dtype)).unsqueeze(-1)
        tokens: list[Tensor] = []
        for pair, faces in groupby(self.tokens, PAIRS.get):
            if pair is None:
                tokens += [self.encoder.token(face, x, visible).unsqueeze(1) for face in faces]
            else:
                tokens.append(self._both(pair, x, visible))
        embedded = torch.cat(tokens, dim=1) + self.encoder.pos_embed
        return self.encoder.fusion_transformer(embedded)  # type: ignore[no-any-return]

    def _both(self, pair: tuple[str, str], x: Tensor, visible: Tensor | None) -> Tensor:
        """Return the tokens of two faces, (batch, 2, encoder_dim)."""
        hexagonal = pair == PAIRS["top"]
        image = getattr(self.encoder.layout, pair[0]).shape

        def faces(values: Tensor) -> Tensor:
            pixels = values.index_select(1, self.get_buffer(f"_{pair[0]}"))
            pixels = pixels.reshape(-1, *image, values.shape[2])
            return pixels if hexagonal else pixels.permute(0, 3, 1, 2)

        network = self.encoder.hex_encoder if hexagonal else self.encoder.backbone
        tokens: Tensor = network(faces(x), None if visible is None else faces(visible))
        return tokens.reshape(-1, 2, tokens.shape[1])
