"""Names of atoms: the annotated concept that an atom ranks best."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from zoo.utils.functional import area_under_roc


class AtomNames(nn.Module):
    """For each of m atoms the annotated concept that its activation ranks best, if it ranks it well enough.

    Buffers: `concept` (m,) numbers of the concepts, -1 where there is none · `auc` (m,) areas under the ROC curve.

    Args:
        atoms: m.
    """

    concept: Tensor
    auc: Tensor

    def __init__(self, atoms: int) -> None:
        super().__init__()
        self.register_buffer("concept", torch.full((atoms,), -1))
        self.register_buffer("auc", torch.zeros(atoms))

    def clear(self) -> None:
        """Removes the names, because the atoms changed."""
        self.concept.fill_(-1)
        self.auc.zero_()

    def fit(self, activation: Tensor, labels: Tensor, least: float) -> None:
        """Finds the concepts.

        Args:
            activation: (N, m) of the training items.
            labels: (N, k) in {0, 1, NaN}; NaN are ignored.
            least: area under the ROC curve from which a concept names an atom.
        """
        self.clear()
        for j, column in enumerate(labels.T):
            found = area_under_roc(activation, column[:, None].expand_as(activation)).to(self.auc).nan_to_num(0.0)
            better = found > self.auc
            self.auc[better], self.concept[better] = found[better], j
        self.concept[self.auc < least] = -1

    def names(self, concepts: Sequence[str]) -> list[str]:
        """A name for each atom, such as "atom 3" or "atom 3 (wing: red)"."""
        found = enumerate(self.concept.tolist())
        return [f"atom {k + 1}" + (f" ({concepts[j]})" if j >= 0 else "") for k, j in found]
