"""SimSiam: one view's projection predicts the other's, which is held still. No other pictures are needed.

Source: Chen and He 2020, "Exploring simple siamese representation learning", arXiv 2011.10566.
"""

from torch import Tensor, nn
from torch.nn import functional as F

from active.embedding.training.objective import Objective, Seen, mlp

OUT, NARROW = 1024, 256  # the paper has 2048 and 512, for a wider network and more pictures


class SimSiam(Objective):
    """A projector of three layers that ends in a batch norm, and a predictor with a narrow middle."""

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.projector = mlp(width, OUT, OUT, OUT, norm=True)
        self.norm = nn.BatchNorm1d(OUT, affine=False)
        self.predictor = mlp(OUT, NARROW, OUT, norm=True)

    def forward(self, one: Tensor, two: Tensor, slow: tuple[Tensor, Tensor] | None = None) -> Seen:
        """Return the loss of this process's views."""
        a, b = self.norm(self.projector(one)), self.norm(self.projector(two))
        loss = (distance(self.predictor(a), b) + distance(self.predictor(b), a)) / 2
        return Seen(loss, a)


def distance(predicted: Tensor, target: Tensor) -> Tensor:
    """Return the mean negative cosine, equation 1; nothing flows back into the target."""
    return -F.cosine_similarity(predicted.float(), target.detach().float(), dim=1).mean()
