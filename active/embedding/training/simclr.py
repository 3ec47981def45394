"""SimCLR: a view must find the other view of its picture among all others of the batch.

Source: Chen et al. 2020, "A simple framework for contrastive learning of visual
representations", arXiv 2002.05709.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from active.embedding.training.objective import Objective, Seen, mlp
from active.embedding.training.processes import gathered

HIDDEN, OUT = 1024, 128
WARMTH = 0.2  # between the paper's 0.1 for large batches and 0.5 for small ones


class SimCLR(Objective):
    """A projector of two layers and the paper's NT-Xent."""

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.projector = mlp(width, HIDDEN, OUT)

    def forward(self, one: Tensor, two: Tensor, slow: tuple[Tensor, Tensor] | None = None) -> Seen:
        """Return the loss over the views of all processes."""
        a, b = self.projector(one), self.projector(two)
        return Seen(nt_xent(gathered(a), gathered(b)), a)


def nt_xent(one: Tensor, two: Tensor, warmth: float = WARMTH) -> Tensor:
    """Return the normalised temperature-scaled cross entropy, equation 1, mean over the 2n views.

    one, two  (n, d); row i of both is the same picture.
    """
    rows = F.normalize(torch.cat([one, two]).float(), dim=1)
    cos = (rows @ rows.T / warmth).fill_diagonal_(float("-inf"))
    n = len(one)
    other = torch.arange(2 * n, device=rows.device).roll(n)
    return F.cross_entropy(cos, other)
