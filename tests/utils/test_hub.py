"""Downloads without a network: what is cached is used, the rest is refused within seconds."""

import time
from pathlib import Path

import pytest
import timm
from huggingface_hub import constants
from safetensors.torch import save_file

from tests.subwords import wordpiece
from zoo.domain import TextDomain, read_tokenizer
from zoo.networks.hf_text_encoder import HuggingFaceText
from zoo.networks.image_backbones import create_backbone
from zoo.networks.pretrained import pretrained_file
from zoo.utils import hub

NETWORK = "test_resnet"  # of timm, 0.5 million weights


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and a hub that refuses connections."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    return tmp_path


def test_pretrained_without_a_network_fails_within_seconds(offline: Path) -> None:
    """It took 141 s of retries, and the message named neither the backbone nor a file."""
    started = time.monotonic()
    with pytest.raises(
        FileNotFoundError,
        match=r"backbone 'test_resnet' has pretrained: true, but timm/test_resnet.r160_in1k is not in the cache of the "
        r"hub, and http://127.0.0.1:9 cannot be reached .*HF_HUB_OFFLINE.* weights: FILE.safetensors",
    ):
        create_backbone({"name": NETWORK, "pretrained": True}, 3)
    assert time.monotonic() - started < 0.90


def test_a_server_that_never_answers_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "PATIENCE", 0.1)

    def hang(*given: object, **options: object) -> None:
        time.sleep(1)
        raise TimeoutError

    monkeypatch.setattr(hub.urllib.request, "urlopen", hang)
    started = time.monotonic()
    assert not hub._answers("http://127.0.0.1:9") and time.monotonic() - started < 0.9


def test_cached_weights_need_no_network(offline: Path) -> None:
    folder = offline / "models--timm--test_resnet.r160_in1k"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("abc")
    (folder / "snapshots" / "abc").mkdir(parents=True)
    expected = timm.create_model(NETWORK).state_dict()
    save_file(expected, folder / "snapshots" / "abc" / "model.safetensors")
    found = create_backbone({"name": NETWORK, "pretrained": True}, 3).network.state_dict()
    assert all(found[name].equal(expected[name]) for name in found) and found


def test_offline_by_choice(offline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(FileNotFoundError, match="and HF_HUB_OFFLINE is set"):
        pretrained_file(NETWORK)


def test_text_encoders_and_tokenizers(offline: Path) -> None:
    texts = TextDomain(classes=("a", "b"), tokenizer=wordpiece(), length=8)
    with pytest.raises(FileNotFoundError, match=r"text encoder 'some/bert' is not in .* Give a folder with"):
        HuggingFaceText(texts, "some/bert")
    with pytest.raises(FileNotFoundError, match=r"tokenizer 'some/bert' is not in .* Give a folder with"):
        read_tokenizer("some/bert")
