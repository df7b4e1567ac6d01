"""The autoencoder's shapes, and the divergence of latent distributions."""

import pytest
import torch

from zoo.prototypes.layers.autoencoder import Decoder, Encoder, Gaussians


@pytest.mark.parametrize("size", [(28, 28), (12, 10), (13, 7), (5, 5)])
def test_decoding_has_the_shape_of_the_images(size: tuple[int, int]) -> None:
    encoder = Encoder(3, size, (4, 5, 6))
    z = encoder(torch.randn(2, 3, *size))
    assert z.shape == (2, encoder.dim)
    out = Decoder(encoder, 3, (4, 5, 6))(z)
    assert out.shape == (2, 3, *size) and out.min() >= 0 and out.max() <= 1


def test_divergence_is_that_of_normal_distributions() -> None:
    gaussians = Gaussians(3, 4, 0.3)
    with torch.no_grad():
        gaussians.log_deviation.add_(torch.randn(3, 4) * 0.2)
    normal = torch.distributions.Normal
    expected = torch.distributions.kl_divergence(
        normal(gaussians.mean, gaussians.deviation()), normal(torch.zeros(3, 4), torch.full((3, 4), 0.7))
    )
    torch.testing.assert_close(gaussians.divergence(0.7), expected.sum())
    assert Gaussians(3, 4, None).divergence(0.7) == 0
