"""Small models with random weights, in float64."""

import pytest
import torch
from torch import nn


@pytest.fixture
def double():
    """Build and compute in float64."""
    torch.manual_seed(7)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture
def randomise():
    """Give a module random weights also where it starts from zeros and ones."""

    def randomise(module, spread=0.2):
        for parameter in module.parameters():
            nn.init.normal_(parameter, std=spread)
        return module.eval()

    return randomise
