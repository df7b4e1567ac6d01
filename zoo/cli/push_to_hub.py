"""`train.py push-to-hub`: uploads a checkpoint to the Hugging Face hub."""

from zoo.checkpoints.hub import push
from zoo.checkpoints.pretrained import find
from zoo.cli.arguments import CommandParser


def push_to_hub(arguments: list[str]) -> int:
    """Verifies a checkpoint and uploads it to the Hugging Face hub. Run `hf auth login` once before."""
    parser = CommandParser("push-to-hub", push_to_hub.__doc__)
    parser.add_argument("--checkpoint", required=True, help="name or folder of a checkpoint")
    parser.add_argument(
        "--repository", required=True, metavar="OWNER/NAME", help="destination; created if it does not exist"
    )
    parser.add_argument("--private", action="store_true", help="create a private repository")
    options = parser.parse(arguments)
    if options.repository.count("/") != 1:
        raise ValueError(f"--repository must be OWNER/NAME; got '{options.repository}'.")
    folder = find(options.checkpoint)
    push(folder, options.repository, private=options.private)
    print(f"uploaded {folder}; load it with zoo.load('hub:{options.repository}')")
    return 0
