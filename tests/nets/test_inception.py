"""What is particular to the Inception networks."""

import pytest
import torch

from convworks.errors import InputError
from convworks.nets.blocks import SqueezeExcite
from convworks.nets.inception_v3 import InceptionV3
from convworks.nets.registry import create_model


def test_the_auxiliary_head_is_there_in_training_only() -> None:
    """torchvision's documentation states 27,161,264 parameters with the auxiliary head."""
    with torch.device("meta"):
        model = InceptionV3(auxiliary=True)
        images = torch.empty(2, 3, 299, 299)
        logits, auxiliary = model(images)
        assert logits.shape == auxiliary.shape == (2, 1000)
        assert model.eval()(images).shape == (2, 1000)
    assert sum(p.numel() for p in model.parameters()) == 27_161_264


def test_googlenets_auxiliary_heads_are_the_papers() -> None:
    """Section 5: 4×4×512 and 4×4×528 behind the average pooling, a Linear layer of 1024 units."""
    options = {"auxiliary": True}
    with torch.device("meta"):
        model = create_model(
            "googlenet", num_classes=1000, in_channels=3, image_size=224, options=options
        )
        outputs = model(torch.empty(2, 3, 224, 224))
    assert [output.shape for output in outputs] == [(2, 1000)] * 3
    for block, channels in (("inception1", 512), ("inception4", 528)):
        head = model.get_submodule(f"auxiliary.{block}")
        shapes = {name: tuple(p.shape) for name, p in head.named_parameters() if p.ndim > 1}
        assert shapes == {
            "reduce.conv.weight": (128, channels, 1, 1),
            "fc1.weight": (1024, 4 * 4 * 128),
            "fc2.weight": (1000, 1024),
        }


@pytest.mark.parametrize(("name", "smallest"), [("googlenet", 65), ("inception_v3", 299)])
def test_auxiliary_heads_need_a_larger_image(name: str, smallest: int) -> None:
    options = {"num_classes": 3, "in_channels": 3, "stem": "paper", "options": {"auxiliary": True}}
    with torch.device("meta"):
        model = create_model(name, image_size=smallest, **options)  # type: ignore[arg-type]
        assert len(model(torch.empty(2, 3, smallest, smallest))) > 1
        with pytest.raises(InputError, match="need.* larger images or leave"):
            create_model(name, image_size=smallest - 1, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "gates"),
    [
        ("googlenet", 9),
        ("inception_bn", 10),
        ("inception_v3", 11),
        ("inception_v4", 16),
        ("inception_resnet_v2", 40),
        ("resnet20", 9),
        ("preact_resnet50", 16),
        ("wide_resnet40_4", 18),
    ],
)
def test_squeeze_and_excitation_goes_into_every_block(name: str, gates: int) -> None:
    with torch.device("meta"):
        model = create_model(name, in_channels=3, num_classes=5, options={"se": 16})
        size = model.spec.image_size
        assert model(torch.empty(2, 3, size, size)).shape == (2, 5)
    found = [m for m in model.modules() if isinstance(m, SqueezeExcite)]
    assert len(found) == gates
    for gate in found:
        reduce = gate.get_parameter("weigh.reduce.weight")
        assert reduce.shape[0] == max(1, reduce.shape[1] // 16)
