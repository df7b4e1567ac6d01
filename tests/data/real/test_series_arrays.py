"""Series of your own: arrays with classes or with values."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from zoo.data import SeriesArrays


def written(folder: Path, **splits: tuple[Tensor, Tensor]) -> str:
    for split, (values, target) in splits.items():
        save_file({"input": values, "target": target}, folder / f"{split}.safetensors")
    return str(folder)


def series(count: int, steps: int = 5, variables: int = 2) -> Tensor:
    return 3 + 2 * torch.randn(count, steps, variables)


def test_whole_numbers_are_classes(tmp_path: Path) -> None:
    values = series(12)
    root = written(tmp_path, train=(values, torch.arange(12) % 3), test=(series(2), torch.tensor([2, 0])))
    data = SeriesArrays(root, variables=["pulse", "pressure"])
    domain = data.make_domain()
    assert domain.task == "classification" and domain.classes == ("class 0", "class 1", "class 2")
    assert domain.shape == (5, 2) and domain.variables == ("pulse", "pressure")
    torch.testing.assert_close(domain.values(data.items("train", False).inputs), values)
    assert data.items("test", False).targets.tolist() == [2, 0]
    assert len(data.val_dataset()) == 3 and len(data.train_dataset()) == 9
    assert SeriesArrays(root, classes=["a", "b", "c", "never seen"]).make_domain().classes[3] == "never seen"


def test_floats_are_values_and_a_split_of_their_own_is_kept(tmp_path: Path) -> None:
    data = SeriesArrays(
        written(
            tmp_path,
            train=(series(40), torch.rand(40)),
            val=(series(3), torch.rand(3)),
            test=(series(2), torch.rand(2)),
        )
    )
    domain = data.make_domain()
    assert domain.task == "regression" and domain.classes == ("value 1",)
    assert len(data.val_dataset()) == 3 and len(data.train_dataset()) == 40
    assert data.items("train", True).targets.shape == (40, 1)
    (tmp_path / "val.safetensors").unlink()
    data = SeriesArrays(str(tmp_path))
    assert len(data.val_dataset()) == 8 and len(data.train_dataset()) == 32


@pytest.mark.parametrize(
    ("train", "message"),
    [
        ((torch.zeros(2, 2), torch.zeros(2).long()), r"expected input \(N, T, V\) and target"),
        (
            (series(2), torch.zeros(3).long()),
            r"has input \(2, 5, 2\) and target \(3,\) of torch.int64; expected N classes",
        ),
        ((series(2), torch.zeros(2, 2).long()), r"target \(2, 2\) of torch.int64; expected N classes"),
        ((series(2), torch.tensor([0, -1])), "has class -1; classes are integers from 0 on"),
        ((series(2) / 0, torch.tensor([0, 1])), "NaN or infinite; clean them first"),
        ((series(2), torch.tensor([0, torch.nan])), "NaN or infinite; clean them first"),
        (
            (series(2, variables=3), torch.tensor([0, 1])),
            r"test.safetensors does not fit .* \(2, 5, 2\).*not \(N, T, 3\)",
        ),
        ((series(2), torch.rand(2)), r"test.safetensors does not fit .*torch.int64, not .*torch.float32"),
    ],
)
def test_arrays_that_do_not_fit(tmp_path: Path, train: tuple[Tensor, Tensor], message: str) -> None:
    root = written(tmp_path, train=train, test=(series(2), torch.tensor([0, 1])))
    with pytest.raises(ValueError, match=message):
        SeriesArrays(root).make_domain()


def test_names_and_files_that_do_not_fit(tmp_path: Path) -> None:
    root = written(tmp_path, train=(series(4), torch.arange(4)), test=(series(2), torch.tensor([0, 1])))
    with pytest.raises(ValueError, match=r"variables names 1, but .* has 2; name each of them"):
        SeriesArrays(root, variables=["pulse"]).make_domain()
    with pytest.raises(ValueError, match=r"classes names 3, but .* has 4; name each of them"):
        SeriesArrays(root, classes=["a", "b", "c"]).make_domain()
    (tmp_path / "test.safetensors").write_text("no arrays")
    with pytest.raises(ValueError, match=r"test.safetensors is not a safetensors file"):
        SeriesArrays(root).make_domain()
    (tmp_path / "test.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"no series at .*test.safetensors; write the tensors input"):
        SeriesArrays(root).make_domain()
