"""The page of the benchmark of policies is made of its record."""

from benchmarks.policies import MODELS, config_of, page
from benchmarks.runs import HERE, ROOT, read


def test_the_page_is_that_of_the_record() -> None:
    record = read(HERE / "POLICIES.json")
    assert (HERE / "POLICIES.md").read_text(encoding="utf-8") == page(record)
    for key in record:  # "world, model, seed N"
        world, model, _ = key.split(", ")
        assert (ROOT / config_of(world, model)).is_file()


def test_means_and_intervals_by_hand() -> None:
    runs = {
        f"cartpole, {model}, seed {seed}": {"return": 400.0 + 100 * seed, "low": 390.0, "high": 500.0, "seconds": 7.0}
        for model in list(MODELS)[:1]
        for seed in (0, 1)
    }
    assert "| black box | 2 | 450.00 ± 70.71 | 390.0 to 500.0 |" in page(runs)
    assert "| written controller |" not in page(runs) and "## CartPole" in page(runs) and "## Acrobot" not in page(runs)
