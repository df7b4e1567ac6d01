"""Numbers and names of nodes."""

import pytest

from zoo.circuits.network.layout import SITES, Layout


def test_nodes_have_places_and_names() -> None:
    layout = Layout(layers=2, width=4, neurons=10)
    assert layout.nodes == 7 * 4 + 10
    found = [layout.locate(node) for node in range(2 * layout.nodes)]
    assert len(set(found)) == len(found) and {site for _, site, _ in found} == set(SITES)
    assert all(layout.nodes * i + layout.part(site).start + k == node for node, (i, site, k) in enumerate(found))
    assert layout.name(layout.nodes + layout.part("mlp_neuron").start + 3) == "layer 1 mlp_neuron 3"


def test_bad_nodes_and_sites() -> None:
    layout = Layout(layers=2, width=4, neurons=10)
    with pytest.raises(ValueError, match="node 76 is out of range; there are 76 nodes"):
        layout.locate(76)
    with pytest.raises(ValueError, match="there is no site 'mlp'; sites: attn_in"):
        layout.part("mlp")
