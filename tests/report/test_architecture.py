"""Pictures of networks: everything legible, and what is drawn is what the modules do."""

from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from torch import Tensor, nn

from convworks.errors import InputError
from convworks.nets.registry import create_model, list_models
from convworks.nets.zoo import ZOO
from convworks.report.architecture import architecture
from legible import illegible, labels, small

Named = tuple[str, nn.Module, tuple[int, int, int]]

SAMPLE = [
    *("lenet", "alexnet", "vgg11", "nin", "googlenet", "resnet18", "densenet_book"),
    *("shufflenet_v2_x1_0", "mobilenet_v2", "convnext_tiny", "inception_v4", "se_resnet50"),
]


def network(name: str) -> Named:
    with torch.device("meta"):
        return name, create_model(name), ZOO[name].input


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].texts]


def complaints(figure: Figure) -> Iterator[str]:
    """Labels that cross an edge, besides what makes any picture's labels illegible."""
    yield from illegible(figure)
    (axes,) = figure.axes
    shapes = [p.get_window_extent() for p in axes.patches if isinstance(p, FancyBboxPatch)]
    for text, box in labels(figure):
        for shape in shapes:
            inside = shape.x0 <= box.x0 and box.x1 <= shape.x1
            inside = inside and shape.y0 <= box.y0 and box.y1 <= shape.y1
            if box.overlaps(shape) and not inside:
                yield f"{text} crosses an edge"


@pytest.mark.parametrize("name", SAMPLE)
def test_every_label_can_be_read(name: str) -> None:
    assert list(complaints(architecture(name))) == []


@pytest.mark.slow
@pytest.mark.parametrize("depth", [0, 1, 2])
@pytest.mark.parametrize("name", list_models())
def test_every_label_of_the_zoo_can_be_read(name: str, depth: int) -> None:
    """And the picture keeps the shape of a page."""
    figure = architecture(name, depth=depth)
    assert list(complaints(figure)) == []
    width, height = figure.get_size_inches()
    assert 0.15 < width / height < 3


def test_the_complaints_are_noticed() -> None:
    """The test above can fail: a label moved onto a box's edge is seen."""
    figure = architecture("lenet")
    label = next(t for t in figure.axes[0].texts if t.get_text() == "6×14×14")
    x, y = label.get_position()
    label.set_y(y + 12)
    assert "5×5 conv, 16 covers 6×14×14" in list(complaints(figure))
    label.set_position((x + 20, y + 5))
    assert "6×14×14 crosses an edge" in list(complaints(figure))
    label.set_position((x - 20, y))
    assert "6×14×14 lies on a line" in list(complaints(figure))
    label.set_position((x + 400, y))
    assert "6×14×14 leaves the picture" in list(complaints(figure))
    assert list(small(figure)) == []
    figure.set_figwidth(10)
    assert "6×14×14 has 7.3 pixels" in list(small(figure))


def test_lenet_stands_beside_alexnet() -> None:
    figure = architecture("lenet", "alexnet")
    assert list(complaints(figure)) == []
    shown = texts(figure)
    assert [t for t in shown if t in ("lenet", "alexnet")] == ["lenet", "alexnet"]
    for text in ("5×5 conv, 6", "2×2 average pool, /2", "linear, 120", "16×5×5"):
        assert text in shown
    for text in ("11×11 conv, 96, /4", "3×3 max pool, /2", "linear, 4096", "256×5×5"):
        assert text in shown
    places = {t.get_text(): t.get_position()[0] for t in figure.axes[0].texts}
    assert places["linear, 120"] < places["11×11 conv, 96, /4"]


def test_many_blocks_stand_in_rows_as_wide_as_a_column_of_text() -> None:
    blocks = [(f"block {i}", nn.Sequential(nn.Conv2d(8, 8, 3)), (8, 9, 9)) for i in range(12)]
    figure = architecture(*blocks)
    assert list(complaints(figure)) == []
    assert list(small(figure)) == []
    places = [t.get_position() for t in figure.axes[0].texts if t.get_text().startswith("block")]
    assert places == sorted(places, key=lambda place: (place[1], place[0])), "in their order"
    assert len({y for _, y in places}) > 1


def test_resnet_18_has_branches_and_equal_blocks_once() -> None:
    shown = texts(architecture("resnet18"))
    assert shown.count("×2") == 1, "the two blocks of stage 1"
    assert shown.count("1×1 conv, 128, /2") == 1, "a shortcut that changes the shape"
    assert shown.count("3×3 conv, 512") == 3
    assert shown.count("add") == 1 + 2 * 3
    closed = texts(architecture("resnet18", depth=0))
    assert "3×3 conv, 64 → 3×3 conv, 64" in closed
    stages = [text for text in closed if text.startswith("stage")]
    assert stages == ["stage1", "stage2", "stage3", "stage4"], "also of one block, drawn once"


def test_a_shortcut_goes_past_a_closed_block() -> None:
    """As the papers draw it: beside the block, with the convolution that fits it, and added."""
    figure = architecture("resnet18", depth=0)
    shown = texts(figure)
    assert shown.count("add") == 1 + 2 * 3
    for text in ("3×3 conv, 128, /2 → 3×3 conv, 128", "1×1 conv, 128, /2"):
        assert shown.count(text) == 1
    places = {t.get_text(): t.get_position() for t in figure.axes[0].texts}
    block, shortcut = places["3×3 conv, 128, /2 → 3×3 conv, 128"], places["1×1 conv, 128, /2"]
    assert shortcut[0] > block[0] + 50
    assert abs(shortcut[1] - block[1]) < 15
    assert not {"add", "1×1 conv, 128, /2"} & set(texts(architecture("plain18", depth=0)))
    for name, join in (
        ("densenet121", "concatenate"),
        ("shufflenet_v1_g3", "3×3 average pool, /2"),
    ):
        assert join in texts(architecture(name, depth=0))
    half = texts(architecture("shufflenet_v2_x1_0", depth=0))
    assert "1×1 conv, 58 → 3×3 depthwise conv, 58 → 1×1 conv, 58" in half
    assert {"split", "concatenate", "shuffle channels"} <= set(half)


def test_a_closed_block_names_the_paths_inside_it() -> None:
    shown = texts(architecture("inception_resnet_v2", depth=0))
    assert "1×1 conv, 32 → 3×3 conv, 48 → 3×3 conv, 64" in shown
    assert "→ 1×1 conv, 320" in shown
    shown = texts(architecture("inception_v3", depth=0))
    assert "1×1 conv, 384 → (1×3 conv, 384 | 3×1 conv, 384)" in shown


def test_googlenet_names_the_four_paths() -> None:
    shown = texts(architecture("googlenet"))
    assert shown.count("inception") == 9
    assert "1×1 conv, 16 → 5×5 conv, 32" in shown
    assert "1024×3×3" in shown


def test_a_block_alone_is_opened_wholly() -> None:
    inception = architecture("googlenet", block="stage3.inception1")
    assert list(complaints(inception)) == []
    shown = texts(inception)
    assert shown[0] == "googlenet: stage3.inception1"
    for text in ("192×12×12", "5×5 conv, 32", "3×3 max pool", "concatenate", "256×12×12"):
        assert text in shown
    gates = texts(architecture("se_resnet50", block="stage1.0"))
    assert "multiply" in gates
    with pytest.raises(
        InputError, match=r"There is no block of resnet18 'stage9'; did you mean 'stage"
    ):
        architecture("resnet18", block="stage9")


def test_a_network_of_the_user_is_drawn_from_what_it_does() -> None:
    class Mine(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one = nn.Conv2d(1, 4, 3, padding=1)
            self.two = nn.Conv2d(4, 4, 3, padding=1)
            self.head = nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            x = F.relu(self.one(x))
            x = F.max_pool2d(x + torch.sigmoid(self.two(x)), 2)
            out: Tensor = self.head(x.mean((2, 3)))
            return out

    figure = architecture(("mine", Mine(), (1, 8, 8)))
    assert list(complaints(figure)) == []
    shown = texts(figure)
    for text in ("ReLU", "sigmoid", "add", "max pool", "mean", "linear, 2"):
        assert text in shown


def test_paths_that_cross_become_one_box() -> None:
    """Each layer sees all before it, in one forward: no forks that lie in one another."""

    class Dense(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList(nn.Conv2d(i + 1, 1, 1) for i in range(3))

        def forward(self, x: Tensor) -> Tensor:
            found = [x]
            for layer in self.layers:
                found.append(layer(torch.cat(found, 1)))
            return found[-1] + found[-2]

    figure = architecture(("mine", nn.Sequential(Dense(), nn.ReLU()), (1, 4, 4)))
    assert "Dense" in texts(figure)


def test_what_cannot_be_drawn_is_said() -> None:
    with pytest.raises(InputError, match="cannot take 3×8×8 images"):
        architecture(("vgg11", network("vgg11")[1], (3, 8, 8)))
    with pytest.raises(InputError, match="at least one network"):
        architecture()
    with pytest.raises(InputError, match="depth must be 0 or more"):
        architecture("lenet", depth=-1)
