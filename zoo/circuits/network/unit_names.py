"""Units of transformers that are explained by their writes to the residual stream."""

from collections.abc import Iterator

from zoo.core.evidence import Unit


def write_units(layers: int, width: int, head_width: int, neurons: int, channel_site: str) -> Iterator[Unit]:
    """Units of each layer, in order: attention channels, attention bias, neurons, MLP bias.

    Args:
        layers: number of layers.
        width: attention channels per layer.
        head_width: attention channels per head.
        neurons: neurons per layer.
        channel_site: site of the attention channels, for the source of their units.
    """
    for layer in range(layers):
        for c in range(width):
            head, channel = divmod(c, head_width)
            source = {"layer": layer, "site": channel_site, "index": c}
            yield Unit(f"layer {layer} head {head} channel {channel}", "attention channel", source=source)
        yield Unit(f"layer {layer} attention bias", "bias", source={"layer": layer, "site": "attn_out"})
        for n in range(neurons):
            source = {"layer": layer, "site": "mlp_neuron", "index": n}
            yield Unit(f"layer {layer} neuron {n}", "neuron", source=source)
        yield Unit(f"layer {layer} MLP bias", "bias", source={"layer": layer, "site": "mlp_out"})
