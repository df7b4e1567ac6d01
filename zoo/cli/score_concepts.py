"""`train.py score-concepts`: scores training images against phrases, for models that learn concepts from the scores."""

from pathlib import Path

from torch import Tensor

from zoo.cli.arguments import CommandParser, positive
from zoo.cli.checkpoint_data import default_device
from zoo.cli.settings import create_data
from zoo.concepts.layers import image_text
from zoo.concepts.layers.score_file import save_scores
from zoo.training.projection_set import ProjectionSet
from zoo.utils.printable import printable


def score_concepts(arguments: list[str]) -> int:
    """Scores the training images of a config against phrases, with an image-text encoder (CLIP).

    LabelFreeCBM (`scores`) and PostHocCBM (`bank`) read the file. Train them with the same data, since images are
    identified by name. --data.init_args.NAME VALUE overrides a value of the data, such as its folder.
    """
    options, overrides = make_parser().parse_with_overrides(arguments)
    if options.output.exists() and not options.overwrite:
        raise FileExistsError(f"{options.output} exists; choose another --output, or give --overwrite.")
    concepts = image_text.read_phrases(options.concepts)
    data = create_data(options.config, overrides, "score-concepts")
    data.prepare_data()
    device = options.device or default_device()
    encoder = image_text.OpenCLIP(data.domain, options.encoder, options.pretrained, options.prompt, device)
    images = ProjectionSet(
        data.projection_dataset(),
        batch_size=options.batch_size,
        device=device,
        workers=getattr(data, "workers", 0),
        title="images",
    )
    scores = image_text.score_concepts(images, encoder, concepts).cpu()
    options.output.parent.mkdir(parents=True, exist_ok=True)
    save_scores(options.output, scores, concepts, [images.name(i) for i in range(len(images))])
    report(scores, concepts, options.output)
    return 0


def report(scores: Tensor, concepts: list[str], output: Path) -> None:
    """Prints the range of the scores, by the measure that the `cutoff` of LabelFreeCBM uses.

    Args:
        scores: (N, k).
        concepts: k phrases.
        output: the file.
    """
    top = scores.topk(min(5, len(scores)), 0).values.mean(0)
    print(f"scores of {len(concepts)} concepts for {len(scores)} images -> {output}")
    for what, i in (("lowest", int(top.argmin())), ("highest", int(top.argmax()))):
        print(f"{what} mean of the five highest scores of a concept: {top[i]:.3f} ({printable(concepts[i])})")
    print(f"use it with LabelFreeCBM, scores: {output} (its cutoff is on that mean), or PostHocCBM, bank: {output}")


def make_parser() -> CommandParser:
    """The options of the command."""
    parser = CommandParser("score-concepts", score_concepts.__doc__)
    parser.add_argument("--config", required=True, type=Path, help="config whose data to score")
    parser.add_argument("--concepts", required=True, type=Path, help="text file with one phrase a line")
    parser.add_argument("--encoder", default="ViT-B-32", help="model of open_clip (default: ViT-B-32)")
    parser.add_argument("--pretrained", help="its weights: a tag of open_clip such as laion2b_s34b_b79k, or a file")
    parser.add_argument("--prompt", default="{}", help="template for the phrases, such as 'a photo of {}'")
    parser.add_argument("--output", required=True, type=Path, help="file to write, such as scores.safetensors")
    parser.add_argument("--overwrite", action="store_true", help="replace that file")
    parser.add_argument("--batch_size", type=positive, default=64, help="images a batch (default: 64)")
    parser.add_argument("--device", help="such as cpu or cuda:1 (default: cuda if available)")
    return parser
