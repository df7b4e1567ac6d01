"""Trains the models on part birds and writes LEADERBOARD.md: `python -m benchmarks.part_birds`.

Each config in configs/worlds whose name ends in part_birds.yaml is trained with each seed, to runs/part_birds; existing
runs are kept. One seed of all models takes about 25 minutes on one core; `--jobs 2` trains two at a time. The metrics
of 100 rows take about a minute for each model, those of the post-hoc methods five to ten more, for Sum-of-
Parts about half an hour.
"""

import argparse
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def main() -> int:
    """Returns the exit code of the leaderboard."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of training (default: 0 1 2)")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time, a thread each (default: 1)")
    parser.add_argument("--runs", type=Path, default=Path("runs/part_birds"), help="folder of the trained models")
    parser.add_argument("--limit", type=int, default=100, help="test rows for the metrics (default: 100)")
    options = parser.parse_args()
    configs = sorted((ROOT / "configs" / "worlds").glob("*_part_birds.yaml"))
    taught = [config for config in configs if "teacher:" in config.read_text(encoding="utf-8")]
    for group in ([config for config in configs if config not in taught], taught):  # teachers first
        wanted = [(config, seed) for seed in options.seeds for config in group]
        with ThreadPoolExecutor(options.jobs) as pool:
            done = [
                pool.submit(trained, config, seed, options.runs, options.jobs, config in taught)
                for config, seed in wanted
            ]
        done = [job.result() for job in done]
        if not all(done):
            return 1
    command = [sys.executable, str(ROOT / "train.py"), "leaderboard", str(options.runs)]
    command += ["--config", str(ROOT / "configs" / "worlds" / "blackbox_part_birds.yaml")]
    command += ["--limit", str(options.limit), "--output", str(ROOT / "benchmarks")]
    return subprocess.run(command).returncode


def trained(config: Path, seed: int, runs: Path, jobs: int, taught: bool) -> bool:
    """Whether a model is there, after training it if it was not; its teacher is the black box of the same seed."""
    folder = runs / f"{config.stem}_seed{seed}"
    if (folder / "metrics.json").is_file():
        return True
    print(f"training {config.stem}, seed {seed}", flush=True)
    command = [sys.executable, str(ROOT / "train.py"), "fit", "--config", str(config), "--output", str(folder)]
    command += ["--seed_everything", str(seed), "--trainer.enable_progress_bar", "false"]
    if taught:
        command += ["--model.init_args.recipe.teacher.run", str(runs / f"blackbox_part_birds_seed{seed}")]
    threads = {"OMP_NUM_THREADS": str(max((os.cpu_count() or 1) // jobs, 1))}
    done = subprocess.run(command, env={**os.environ, **threads}, capture_output=True, text=True)
    if done.returncode:
        print(f"{config.stem}, seed {seed}, failed:\n{done.stderr[-2000:]}", file=sys.stderr)
    return done.returncode == 0


if __name__ == "__main__":
    sys.exit(main())
