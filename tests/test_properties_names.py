"""Every public loss, sampler and layer has its properties tested, or is a part."""

from __future__ import annotations

import property_names
import pytest
from property_layers import LAYERS
from property_losses import LOSSES
from property_samplers import SAMPLERS

from libra_tf import layers, losses, samplers
from libra_tf.ops import sampling


@pytest.mark.parametrize(
    ("room", "table"),
    [(losses, LOSSES), (samplers, SAMPLERS), (layers, LAYERS)],
    ids=["losses", "samplers", "layers"],
)
def test_every_public_name_has_a_case(room, table):
    known = {name.split(",")[0] for name in table}
    parts = property_names.PARTS[room.__name__.split(".")[-1]]
    assert not known & parts.keys()
    draws = set() if room is not samplers else property_names.functions(sampling)
    assert property_names.public_names(room) | draws == known | parts.keys()
