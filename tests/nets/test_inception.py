"""What is particular to the Inception networks."""

import torch

from convworks.nets.inception_v3 import InceptionV3


def test_the_auxiliary_head_is_there_in_training_only() -> None:
    """torchvision's documentation states 27,161,264 parameters with the auxiliary head."""
    with torch.device("meta"):
        model = InceptionV3(auxiliary=True)
        images = torch.empty(2, 3, 299, 299)
        logits, auxiliary = model(images)
        assert logits.shape == auxiliary.shape == (2, 1000)
        assert model.eval()(images).shape == (2, 1000)
    assert sum(p.numel() for p in model.parameters()) == 27_161_264
