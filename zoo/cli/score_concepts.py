"""`train.py score-concepts`: how well phrases fit the training images, for models that learn concepts from that."""

import argparse
from pathlib import Path

import torch

from zoo.cli.settings import create_data
from zoo.concepts.layers import image_text, score_file
from zoo.concepts.layers.image_text import OpenCLIP, read_phrases
from zoo.training.projection_set import ProjectionSet


def score_concepts(arguments: list[str]) -> int:
    """Scores phrases for every training image by an image-text encoder. Returns the exit code.

    The file is what `scores` of LabelFreeCBM and `bank` of PostHocCBM read. Use the data's config as in training: the
    images are found again by their names. --data.init_args.NAME VALUE changes it, such as where the data lies.
    """
    parser = argparse.ArgumentParser("train.py score-concepts", description=score_concepts.__doc__)
    parser.add_argument("--config", required=True, type=Path, help="whose data to score")
    parser.add_argument("--concepts", required=True, type=Path, help="text file, one phrase a line")
    parser.add_argument("--encoder", default="ViT-B-32", help="model of open_clip (default: ViT-B-32)")
    parser.add_argument("--pretrained", help="its weights: a tag of open_clip such as laion2b_s34b_b79k, or a file")
    parser.add_argument("--prompt", default="{}", help="what to write a phrase into, such as 'a photo of {}'")
    parser.add_argument("--output", required=True, type=Path, help="file to write, such as scores.safetensors")
    parser.add_argument("--overwrite", action="store_true", help="replace that file")
    parser.add_argument("--batch_size", type=int, default=64, help="images at a time (default: 64)")
    parser.add_argument("--device", help="such as cpu or cuda (default: cuda if there is one)")
    options, rest = parser.parse_known_args(arguments)
    if options.batch_size < 1:
        raise ValueError(f"--batch_size must be at least 1; got {options.batch_size}.")
    if options.output.exists() and not options.overwrite:
        raise FileExistsError(f"{options.output} exists; choose another --output, or give --overwrite.")
    concepts = read_phrases(options.concepts)
    data = create_data(options.config, rest, "score-concepts")
    data.prepare_data()
    device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    encoder = OpenCLIP(data.domain, options.encoder, options.pretrained, options.prompt, device)
    projection_set = ProjectionSet(
        data.projection_dataset(),
        batch_size=options.batch_size,
        device=device,
        workers=getattr(data, "workers", 0),
        title="images",
    )
    scores = image_text.score_concepts(projection_set, encoder, concepts).cpu()
    options.output.parent.mkdir(parents=True, exist_ok=True)
    score_file.save_scores(
        options.output, scores, concepts, [projection_set.name(i) for i in range(len(projection_set))]
    )
    _report(scores, concepts, options.output)
    return 0


def _report(scores: torch.Tensor, concepts: list[str], output: Path) -> None:
    """Where the scores lie, by the measure that `cutoff` of LabelFreeCBM is for."""
    strongest = scores.topk(min(5, len(scores)), 0).values.mean(0)
    print(f"scores of {len(concepts)} concepts for {len(scores)} images -> {output}")
    for what, i in (("lowest", int(strongest.argmin())), ("highest", int(strongest.argmax()))):
        print(f"{what} mean of a concept's five highest scores: {strongest[i]:.3f} ({concepts[i]})")
    print(f"read by LabelFreeCBM with scores: {output} (its cutoff is on that mean), by PostHocCBM with bank: {output}")
