"""The logit lens: what the classifier's own norm and head read from the state of each token after each layer.

Vilas, Schaumlöffel, Roig: "Analyzing Vision Transformers for Image Classification in Class Embedding Space", NeurIPS
2023, arXiv 2310.18969. The published code divides the weights of the model by their norms in place; nothing is changed
here.
"""

import torch
from torch import Tensor, nn

from zoo.networks.residual_stream import Stream, final_norms


def lens_states(encoder: nn.Module, stream: Stream) -> Tensor:
    """Normed states (B, 1 + L, T, D) after each of 0 to L layers, on which the classifier's head gives class scores.

    Args:
        encoder: see `zoo.networks.residual_stream.stream_of`.
        stream: of the encoder.
    """
    norm, pooled_norm = final_norms(encoder)
    states = torch.stack(stream.states(), 1)
    last = norm or pooled_norm
    return states if last is None else last(states)


def identifiability(scores: Tensor, target: Tensor) -> Tensor:
    """1 - rank / C of a class among C: 1 for the class of highest score, 1 / C for that of the lowest.

    Args:
        scores: (B, ..., C).
        target: (B,) classes.

    Returns:
        (B, ...).
    """
    own = scores.gather(-1, target.view(-1, *[1] * (scores.ndim - 1)).expand(*scores.shape[:-1], 1))
    return 1 - (scores > own).float().mean(-1)
