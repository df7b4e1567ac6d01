"""The encoder of log-mel pictures: its field in time, its independence of pitch, and errors."""

import pytest
import torch

from tests.small_models import CLIPS
from zoo.networks.audio_encoder import AudioConvNet
from zoo.networks.encoders import create_encoder
from zoo.networks.receptive_field import ReceptiveField


@pytest.mark.parametrize("context", [1, 3])
def test_a_state_depends_on_its_frames_only(context: int) -> None:
    torch.manual_seed(0)
    encoder = AudioConvNet(10, [[4, 5], [3, 1]], [9, 3], width=3, channels=4, stride=4, context=context).eval()
    for layer in encoder.modules():
        if isinstance(layer, torch.nn.Conv1d | torch.nn.Conv2d):
            layer.weight.data.abs_()  # no unit may be dead, so that all of the field has a gradient
    x = torch.rand(1, 42, 10, requires_grad=True)
    states = encoder.states(x)
    assert states.shape == (1, 11, 4) and encoder(x).shape == (1, 4)
    assert encoder.receptive_field == ReceptiveField(9 + 4 * (context - 1), 4, -4 - 4 * (context // 2))
    for i in (0, 5, 10):
        (gradient,) = torch.autograd.grad(states[0, i].sum(), x, retain_graph=True)
        assert torch.equal(gradient[0].abs().sum(1) > 0, encoder.receptive_field.covers(11, 42)[i])


def test_timbre_does_not_depend_on_pitch() -> None:
    torch.manual_seed(0)
    encoder = AudioConvNet(20, [[4, 3]], [], width=3, channels=4, stride=1).eval()
    x = torch.zeros(1, 9, 20)
    x[0, 3:6, 4:8] = torch.rand(3, 4)
    torch.testing.assert_close(encoder.states(x), encoder.states(x.roll(7, 2)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"timbre": [[40, 7]]}, "timbre must be pairs of bands, at most 6, and frames"),
        ({"timbre": [[4, 2]]}, "kernels and context must be odd numbers of frames"),
        ({"timbre": [], "rhythm": []}, "at least one kernel"),
        ({"name": "convnet1d"}, "the backbone of audio is 'audio_convnet'; got 'convnet1d'"),
    ],
)
def test_impossible_options_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        create_encoder({"name": "audio_convnet", "timbre": [[4, 3]], **options}, CLIPS)
