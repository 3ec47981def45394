"""VICReg: two views alike, every number of a row varied, no two numbers the same.

Source: Bardes et al. 2021, "VICReg: variance-invariance-covariance regularization", arXiv 2105.04906.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from active.embedding.training.objective import Objective, Seen, mlp
from active.embedding.training.processes import gathered

WIDE = 1024  # the paper has 8192; the covariance of a small batch says little about so many
ALIKE, VARIED, APART = 25.0, 25.0, 1.0  # the paper's weights
SIZE = 25.0  # the sum is divided by this, so that an anchor weighs as much as beside other methods


class VICReg(Objective):
    """An expander of three layers, and the three terms."""

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.projector = mlp(width, WIDE, WIDE, WIDE, norm=True)

    def forward(self, one: Tensor, two: Tensor, slow: tuple[Tensor, Tensor] | None = None) -> Seen:
        """Return the loss over the views of all processes."""
        a, b = self.projector(one), self.projector(two)
        return Seen(vicreg(gathered(a), gathered(b)) / SIZE, a)


def vicreg(one: Tensor, two: Tensor) -> Tensor:
    """Return equation 6 of one batch, with the variance halved over both views as in the authors' code.

    one, two  (n, d); row i of both is the same picture.
    """
    one, two = one.float(), two.float()
    alike = F.mse_loss(one, two)  # a mean over d, as in the authors' code: their weights of 25 mean that
    return ALIKE * alike + VARIED * (_varied(one) + _varied(two)) / 2 + APART * (_apart(one) + _apart(two))


def _varied(rows: Tensor) -> Tensor:
    """Return how much the standard deviations fall short of 1, equation 1."""
    return torch.relu(1 - (rows.var(0) + 1e-4).sqrt()).mean()


def _apart(rows: Tensor) -> Tensor:
    """Return the squared covariances of different numbers, over d, equations 3 and 4."""
    off = rows - rows.mean(0)
    cov = off.T @ off / (len(rows) - 1)
    return (cov.square().sum() - cov.diagonal().square().sum()) / rows.shape[1]
