"""Every network as a row: what builds it, where it was published, what it costs.

The rows stand here and not in the networks' files so that the zoo can be listed without importing
PyTorch. The tests rebuild every row and check each claim.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Row:
    """One network."""

    name: str
    build: str
    """`module:Class` below `convworks.nets`."""
    paper: str
    year: int
    parameters: int
    """At `input` and `classes`."""
    macs: int
    """Multiply-adds of the convolutions and Linear layers for one image; FLOPs are twice that."""
    arguments: Mapping[str, object] = field(default_factory=dict)
    """The constructor's arguments that make this variant."""
    input: tuple[int, int, int] = (3, 224, 224)
    """Channels, height and width in the paper or the book."""
    classes: int = 1000
    smallest: int = 1
    """The smallest side in pixels that the paper's stem takes."""
    smallest_small: int | None = 1
    """The same for the small stem; None: the network has one stem only."""
    note: str = ""
    """Which variant it is, where papers, books and libraries differ."""


@dataclass(frozen=True)
class Family:
    """Networks of one paper and one constructor."""

    build: str
    paper: str
    year: int
    members: Mapping[str, tuple[int, int, Mapping[str, object]]]
    """Parameters, multiply-adds and arguments by name."""
    input: tuple[int, int, int] = (3, 224, 224)
    classes: int = 1000
    smallest: int = 1
    smallest_small: int | None = 1
    note: str = ""

    def rows(self) -> Iterator[Row]:
        """A row for each member."""
        for name, (parameters, macs, arguments) in self.members.items():
            yield Row(
                name,
                self.build,
                self.paper,
                self.year,
                parameters,
                macs,
                arguments,
                self.input,
                self.classes,
                self.smallest,
                self.smallest_small,
                self.note,
            )


FAMILIES = (
    Family(
        "lenet:LeNet",
        "LeCun et al., Proc. IEEE 1998",
        1998,
        {
            "lenet": (61_706, 416_520, {}),
        },
        note=(
            "Sigmoids, average pooling and a plain last Linear, as in the book; LeNet-5 of 1998 "
            "has a stretched tanh, trained pooling, partly connected maps and Gaussian outputs."
        ),
        input=(1, 28, 28),
        classes=10,
        smallest=12,
        smallest_small=None,
    ),
    Family(
        "lenet:LeNetBN",
        "Ioffe and Szegedy, ICML 2015, arXiv:1502.03167",
        2015,
        {
            "lenet_bn": (44_878, 281_640, {}),
        },
        note="The book's: batch norm before every sigmoid, max pooling.",
        input=(1, 28, 28),
        classes=10,
        smallest=16,
        smallest_small=None,
    ),
    Family(
        "alexnet:AlexNet",
        "Krizhevsky et al., NeurIPS 2012",
        2012,
        {
            "alexnet": (46_764_746, 938_146_176, {}),
        },
        note=(
            "One column for one GPU, no local response normalisation, as in the book; "
            "torchvision's is the narrower one of 2014."
        ),
        input=(1, 224, 224),
        classes=10,
        smallest=67,
        smallest_small=7,
    ),
    Family(
        "vgg:VGG",
        "Simonyan and Zisserman, ICLR 2015, arXiv:1409.1556",
        2014,
        {
            "vgg11": (
                132_863_336,
                7_609_090_048,
                {"blocks": ((1, 64), (1, 128), (2, 256), (2, 512), (2, 512))},
            ),
            "vgg13": (
                133_047_848,
                11_308_466_176,
                {"blocks": ((2, 64), (2, 128), (2, 256), (2, 512), (2, 512))},
            ),
            "vgg16": (
                138_357_544,
                15_470_264_320,
                {"blocks": ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))},
            ),
            "vgg19": (
                143_667_240,
                19_632_062_464,
                {"blocks": ((2, 64), (2, 128), (4, 256), (4, 512), (4, 512))},
            ),
            "vgg11_bn": (
                132_868_840,
                7_609_090_048,
                {"blocks": ((1, 64), (1, 128), (2, 256), (2, 512), (2, 512)), "norm": True},
            ),
            "vgg13_bn": (
                133_053_736,
                11_308_466_176,
                {"blocks": ((2, 64), (2, 128), (2, 256), (2, 512), (2, 512)), "norm": True},
            ),
            "vgg16_bn": (
                138_365_992,
                15_470_264_320,
                {"blocks": ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512)), "norm": True},
            ),
            "vgg19_bn": (
                143_678_248,
                19_632_062_464,
                {"blocks": ((2, 64), (2, 128), (4, 256), (4, 512), (4, 512)), "norm": True},
            ),
        },
        note="Configurations A, B, D and E; batch norm is later than the paper.",
        smallest=32,
        smallest_small=16,
    ),
    Family(
        "vgg:VGG",
        "Simonyan and Zisserman, ICLR 2015, arXiv:1409.1556",
        2014,
        {
            "vgg11_small": (
                43_093_322,
                512_155_648,
                {"blocks": ((1, 16), (1, 32), (2, 64), (2, 128), (2, 128))},
            ),
        },
        note="A quarter of VGG-11's widths, as in the book.",
        input=(1, 224, 224),
        classes=10,
        smallest=32,
        smallest_small=16,
    ),
    Family(
        "nin:NiN",
        "Lin et al., ICLR 2014, arXiv:1312.4400",
        2013,
        {
            "nin": (1_992_166, 762_297_352, {}),
        },
        note=("The book's: AlexNet's widths; its 1×1 convolutions stand in for the Linear layers."),
        input=(1, 224, 224),
        classes=10,
        smallest=67,
        smallest_small=7,
    ),
    Family(
        "googlenet:GoogLeNet",
        "Szegedy et al., CVPR 2015, arXiv:1409.4842",
        2014,
        {
            "googlenet": (5_977_530, 276_066_304, {}),
        },
        note=(
            "Without local response normalisation and the dropout of 0.4 before the Linear, as in "
            "the book; 5×5 in the third path as in the paper (torchvision: 3×3, with batch norm). "
            "The paper's auxiliary heads: auxiliary=true."
        ),
        input=(1, 96, 96),
        classes=10,
    ),
    Family(
        "resnet:ResNet",
        "He et al., CVPR 2016, arXiv:1512.03385",
        2015,
        {
            "resnet18": (11_689_512, 1_814_073_344, {"blocks": (2, 2, 2, 2)}),
            "resnet34": (21_797_672, 3_663_761_408, {"blocks": (3, 4, 6, 3)}),
            "resnet50": (25_557_032, 4_089_184_256, {"blocks": (3, 4, 6, 3), "bottleneck": True}),
            "resnet101": (44_549_160, 7_801_405_440, {"blocks": (3, 4, 23, 3), "bottleneck": True}),
            "resnet152": (
                60_192_808,
                11_513_626_624,
                {"blocks": (3, 8, 36, 3), "bottleneck": True},
            ),
            "plain18": (11_515_688, 1_794_805_760, {"blocks": (2, 2, 2, 2), "shortcut": "none"}),
            "plain34": (21_623_848, 3_644_493_824, {"blocks": (3, 4, 6, 3), "shortcut": "none"}),
        },
        note=(
            'Bottlenecks halve the side in their 3×3 convolution ("v1.5", as torchvision '
            "does); stride_on_1x1=true halves it in the first 1×1 as in the paper. The plain "
            "networks are the same without shortcuts."
        ),
    ),
    Family(
        "resnet:ResNet",
        "He et al., ECCV 2016, arXiv:1603.05027",
        2016,
        {
            "preact_resnet18": (
                11_687_720,
                1_814_073_344,
                {"blocks": (2, 2, 2, 2), "order": "preact"},
            ),
            "preact_resnet34": (
                21_795_880,
                3_663_761_408,
                {"blocks": (3, 4, 6, 3), "order": "preact"},
            ),
            "preact_resnet50": (
                25_549_352,
                4_089_184_256,
                {"blocks": (3, 4, 6, 3), "bottleneck": True, "order": "preact"},
            ),
            "preact_resnet101": (
                44_541_480,
                7_801_405_440,
                {"blocks": (3, 4, 23, 3), "bottleneck": True, "order": "preact"},
            ),
            "preact_resnet152": (
                60_185_128,
                11_513_626_624,
                {"blocks": (3, 8, 36, 3), "bottleneck": True, "order": "preact"},
            ),
        },
        note=(
            "Norm and ReLU before every convolution; a shortcut that changes shape reads the "
            "activated input."
        ),
    ),
    Family(
        "resnet:CifarResNet",
        "He et al., CVPR 2016, arXiv:1512.03385",
        2015,
        {
            "resnet20": (269_722, 40_551_040, {"blocks": (3, 3, 3)}),
            "resnet32": (464_154, 68_862_592, {"blocks": (5, 5, 5)}),
            "resnet44": (658_586, 97_174_144, {"blocks": (7, 7, 7)}),
            "resnet56": (853_018, 125_485_696, {"blocks": (9, 9, 9)}),
            "resnet110": (1_727_962, 252_887_680, {"blocks": (18, 18, 18)}),
            "plain20": (269_722, 40_551_040, {"blocks": (3, 3, 3), "shortcut": "none"}),
            "plain32": (464_154, 68_862_592, {"blocks": (5, 5, 5), "shortcut": "none"}),
            "plain44": (658_586, 97_174_144, {"blocks": (7, 7, 7), "shortcut": "none"}),
            "plain56": (853_018, 125_485_696, {"blocks": (9, 9, 9), "shortcut": "none"}),
        },
        note="Shortcuts without parameters (option A).",
        input=(3, 32, 32),
        classes=10,
        smallest_small=None,
    ),
    Family(
        "resnet:CifarResNet",
        "He et al., ECCV 2016, arXiv:1603.05027",
        2016,
        {
            "preact_resnet110": (
                1_727_962,
                252_887_680,
                {"blocks": (18, 18, 18), "order": "preact"},
            ),
            "preact_resnet164": (
                1_703_258,
                244_500_992,
                {
                    "blocks": (18, 18, 18),
                    "bottleneck": True,
                    "order": "preact",
                    "shortcut": "projection",
                    "stride_on_1x1": True,
                },
            ),
        },
        note=(
            "Order (e) of figure 4; padding shortcuts in 110 layers, projections in 164, with the "
            "stride in the first 1×1 as in the authors' code."
        ),
        input=(3, 32, 32),
        classes=10,
        smallest_small=None,
    ),
    Family(
        "resnet:ResNet",
        "Xie et al., CVPR 2017, arXiv:1611.05431",
        2016,
        {
            "resnext50_32x4d": (
                25_028_904,
                4_230_479_872,
                {"blocks": (3, 4, 6, 3), "bottleneck": True, "groups": 32, "group_width": 4},
            ),
            "resnext101_32x4d": (
                44_177_704,
                7_969_996_800,
                {"blocks": (3, 4, 23, 3), "bottleneck": True, "groups": 32, "group_width": 4},
            ),
            "resnext101_64x4d": (
                83_455_272,
                15_460_270_080,
                {"blocks": (3, 4, 23, 3), "bottleneck": True, "groups": 64, "group_width": 4},
            ),
        },
        note="Form (c) of figure 3, grouped convolutions.",
    ),
    Family(
        "resnet:CifarResNet",
        "Zagoruyko and Komodakis, BMVC 2016, arXiv:1605.07146",
        2016,
        {
            "wide_resnet28_10": (
                36_479_194,
                5_243_328_768,
                {
                    "blocks": (4, 4, 4),
                    "widths": (160, 320, 640),
                    "order": "preact",
                    "shortcut": "projection",
                },
            ),
            "wide_resnet40_4": (
                8_949_210,
                1_298_582_016,
                {
                    "blocks": (6, 6, 6),
                    "widths": (64, 128, 256),
                    "order": "preact",
                    "shortcut": "projection",
                },
            ),
        },
        note="Pre-activated, projection shortcuts, no dropout.",
        input=(3, 32, 32),
        classes=10,
        smallest_small=None,
    ),
    Family(
        "resnet:ResNet",
        "Hu et al., CVPR 2018, arXiv:1709.01507",
        2017,
        {
            "se_resnet18": (11_778_592, 1_814_160_384, {"blocks": (2, 2, 2, 2), "se": 16}),
            "se_resnet50": (
                28_088_024,
                4_091_699_200,
                {"blocks": (3, 4, 6, 3), "bottleneck": True, "se": 16},
            ),
            "se_resnet101": (
                49_326_872,
                7_806_148_608,
                {"blocks": (3, 4, 23, 3), "bottleneck": True, "se": 16},
            ),
            "se_resnext50_32x4d": (
                27_559_896,
                4_232_994_816,
                {
                    "blocks": (3, 4, 6, 3),
                    "bottleneck": True,
                    "groups": 32,
                    "group_width": 4,
                    "se": 16,
                },
            ),
        },
        note=(
            "The gate stands before the sum, reduction 16; strides as in ResNet here, on the 3×3."
        ),
    ),
    Family(
        "densenet:DenseNet",
        "Huang et al., CVPR 2017, arXiv:1608.06993",
        2016,
        {
            "densenet_book": (757_322, 129_077_168, {"blocks": (4, 4, 4, 4), "growth": 32}),
        },
        note="The book's: no bottlenecks, four blocks of four layers, growth 32.",
        input=(1, 96, 96),
        classes=10,
        smallest=29,
        smallest_small=8,
    ),
    Family(
        "densenet:DenseNet",
        "Huang et al., CVPR 2017, arXiv:1608.06993",
        2016,
        {
            "densenet121": (
                7_978_856,
                2_834_161_664,
                {"blocks": (6, 12, 24, 16), "growth": 32, "width": 64, "bottleneck": 4},
            ),
            "densenet161": (
                28_681_000,
                7_727_907_072,
                {"blocks": (6, 12, 36, 24), "growth": 48, "width": 96, "bottleneck": 4},
            ),
            "densenet169": (
                14_149_480,
                3_359_843_328,
                {"blocks": (6, 12, 32, 32), "growth": 32, "width": 64, "bottleneck": 4},
            ),
            "densenet201": (
                20_013_928,
                4_291_365_888,
                {"blocks": (6, 12, 48, 32), "growth": 32, "width": 64, "bottleneck": 4},
            ),
            "densenet264": (
                33_337_704,
                5_751_653_376,
                {"blocks": (6, 12, 64, 48), "growth": 32, "width": 64, "bottleneck": 4},
            ),
        },
        note="DenseNet-BC: bottlenecks, and transitions that halve the channels.",
        smallest=29,
        smallest_small=8,
    ),
    Family(
        "densenet:CifarDenseNet",
        "Huang et al., CVPR 2017, arXiv:1608.06993",
        2016,
        {
            "densenet_bc100_12": (769_162, 287_929_692, {"blocks": (16, 16, 16)}),
        },
        note="DenseNet-BC of depth 100 and growth 12.",
        input=(3, 32, 32),
        classes=10,
        smallest=4,
        smallest_small=None,
    ),
    Family(
        "squeezenet:SqueezeNet",
        "Iandola et al. 2016, arXiv:1602.07360",
        2016,
        {
            "squeezenet1_1": (1_235_496, 349_151_936, {}),
        },
        note=("Version 1.1 of the authors' code, which costs 2.3 times less than the paper's 1.0."),
        smallest=17,
        smallest_small=4,
    ),
    Family(
        "mobilenet_v1:MobileNetV1",
        "Howard et al. 2017, arXiv:1704.04861",
        2017,
        {
            "mobilenet_v1": (4_231_976, 568_740_352, {}),
        },
        note="ReLU6 as in the authors' code; the paper writes ReLU.",
    ),
    Family(
        "mobilenet_v2:MobileNetV2",
        "Sandler et al., CVPR 2018, arXiv:1801.04381",
        2018,
        {
            "mobilenet_v2": (3_504_872, 300_774_272, {}),
        },
        note="Width multiplier 1.",
    ),
    Family(
        "mobilenet_v3:MobileNetV3",
        "Howard et al., ICCV 2019, arXiv:1905.02244",
        2019,
        {
            "mobilenet_v3_small": (2_542_856, 56_510_400, {"size": "small"}),
            "mobilenet_v3_large": (5_483_032, 216_589_760, {"size": "large"}),
        },
        note=("Widths of the gates as in the authors' code, which rounds them to multiples of 8."),
    ),
    Family(
        "xception:Xception",
        "Chollet, CVPR 2017, arXiv:1610.02357",
        2016,
        {
            "xception": (22_855_952, 8_357_403_496, {}),
        },
        note=(
            "No ReLU between depthwise and pointwise convolution; without the paper's optional "
            "Linear layers and the dropout of 0.5 that it trained with on ImageNet."
        ),
        input=(3, 299, 299),
        smallest=7,
    ),
    Family(
        "shufflenet:ShuffleNetV1",
        "Zhang et al., CVPR 2018, arXiv:1707.01083",
        2017,
        {
            "shufflenet_v1_g1": (1_531_936, 143_078_976, {"groups": 1, "width": 144}),
            "shufflenet_v1_g2": (1_733_848, 140_836_512, {"groups": 2, "width": 200}),
            "shufflenet_v1_g3": (1_865_728, 137_460_672, {"groups": 3, "width": 240}),
            "shufflenet_v1_g4": (1_968_344, 134_339_776, {"groups": 4, "width": 272}),
            "shufflenet_v1_g8": (2_434_768, 138_365_952, {"groups": 8, "width": 384}),
        },
        note="Widths of table 1 for an equal cost at every number of groups.",
    ),
    Family(
        "shufflenet:ShuffleNetV2",
        "Ma et al., ECCV 2018, arXiv:1807.11164",
        2018,
        {
            "shufflenet_v2_x0_5": (1_366_792, 40_476_448, {"widths": (48, 96, 192, 1024)}),
            "shufflenet_v2_x1_0": (2_278_604, 144_907_992, {"widths": (116, 232, 464, 1024)}),
            "shufflenet_v2_x1_5": (3_503_624, 295_759_392, {"widths": (176, 352, 704, 1024)}),
            "shufflenet_v2_x2_0": (7_393_996, 583_253_464, {"widths": (244, 488, 976, 2048)}),
        },
        note="Last convolution of 1024 channels, 2048 at ×2, as in table 5.",
    ),
    Family(
        "senet:SENet154",
        "Hu et al., CVPR 2018, arXiv:1709.01507",
        2017,
        {
            "senet154": (115_088_984, 20_688_363_520, {}),
        },
        note="The winner of 2017: its 3×3 shortcuts and stem are not SE-ResNet-152's.",
        smallest=3,
    ),
    Family(
        "regnet:RegNet",
        "Radosavovic et al., CVPR 2020, arXiv:2003.13678",
        2020,
        {
            "regnetx_200mf": (
                2_684_792,
                199_039_872,
                {"depth": 13, "w_0": 24, "w_a": 36.44, "w_m": 2.49, "g": 8},
            ),
            "regnetx_400mf": (
                5_157_512,
                397_677_568,
                {"depth": 22, "w_0": 24, "w_a": 24.48, "w_m": 2.54, "g": 16},
            ),
            "regnetx_600mf": (
                6_196_040,
                600_890_112,
                {"depth": 16, "w_0": 48, "w_a": 36.97, "w_m": 2.24, "g": 24},
            ),
            "regnetx_800mf": (
                7_259_656,
                799_699_712,
                {"depth": 16, "w_0": 56, "w_a": 35.73, "w_m": 2.28, "g": 16},
            ),
            "regnetx_1_6gf": (
                9_190_136,
                1_602_849_792,
                {"depth": 18, "w_0": 80, "w_a": 34.01, "w_m": 2.25, "g": 24},
            ),
            "regnetx_3_2gf": (
                15_296_552,
                3_176_621_952,
                {"depth": 25, "w_0": 88, "w_a": 26.31, "w_m": 2.25, "g": 48},
            ),
            "regnetx_4_0gf": (
                22_118_248,
                3_964_498_816,
                {"depth": 23, "w_0": 96, "w_a": 38.65, "w_m": 2.43, "g": 40},
            ),
            "regnetx_6_4gf": (
                26_209_256,
                6_460_291_264,
                {"depth": 17, "w_0": 184, "w_a": 60.83, "w_m": 2.07, "g": 56},
            ),
            "regnetx_8gf": (
                39_572_648,
                7_995_132_416,
                {"depth": 23, "w_0": 80, "w_a": 49.56, "w_m": 2.88, "g": 120},
            ),
            "regnetx_12gf": (
                46_106_056,
                12_086_678_016,
                {"depth": 19, "w_0": 168, "w_a": 73.36, "w_m": 2.37, "g": 112},
            ),
            "regnetx_16gf": (
                54_278_536,
                15_940_755_456,
                {"depth": 22, "w_0": 216, "w_a": 55.59, "w_m": 2.1, "g": 128},
            ),
            "regnetx_32gf": (
                107_811_560,
                31_735_929_792,
                {"depth": 23, "w_0": 320, "w_a": 69.86, "w_m": 2.0, "g": 168},
            ),
        },
        note="Widths of the paper's tables; torchvision's 400MF is wider.",
    ),
    Family(
        "regnet:RegNet",
        "Radosavovic et al., CVPR 2020, arXiv:2003.13678",
        2020,
        {
            "regnety_200mf": (
                3_162_996,
                199_514_080,
                {"depth": 13, "w_0": 24, "w_a": 36.44, "w_m": 2.49, "g": 8, "se": True},
            ),
            "regnety_400mf": (
                4_344_144,
                401_842_848,
                {"depth": 16, "w_0": 48, "w_a": 27.89, "w_m": 2.09, "g": 8, "se": True},
            ),
            "regnety_600mf": (
                6_055_160,
                601_220_992,
                {"depth": 15, "w_0": 48, "w_a": 32.54, "w_m": 2.32, "g": 16, "se": True},
            ),
            "regnety_800mf": (
                6_263_168,
                797_176_832,
                {"depth": 14, "w_0": 56, "w_a": 38.84, "w_m": 2.4, "g": 16, "se": True},
            ),
            "regnety_1_6gf": (
                11_202_430,
                1_612_076_160,
                {"depth": 27, "w_0": 48, "w_a": 20.71, "w_m": 2.65, "g": 24, "se": True},
            ),
            "regnety_3_2gf": (
                19_436_338,
                3_176_482_752,
                {"depth": 21, "w_0": 80, "w_a": 42.63, "w_m": 2.66, "g": 24, "se": True},
            ),
            "regnety_4_0gf": (
                20_646_656,
                3_973_288_448,
                {"depth": 22, "w_0": 96, "w_a": 31.41, "w_m": 2.24, "g": 64, "se": True},
            ),
            "regnety_6_4gf": (
                30_583_252,
                6_355_204_992,
                {"depth": 25, "w_0": 112, "w_a": 33.22, "w_m": 2.27, "g": 72, "se": True},
            ),
            "regnety_8gf": (
                39_180_068,
                7_963_057_312,
                {"depth": 17, "w_0": 192, "w_a": 76.82, "w_m": 2.19, "g": 56, "se": True},
            ),
            "regnety_12gf": (
                51_822_544,
                12_092_376_576,
                {"depth": 19, "w_0": 168, "w_a": 73.36, "w_m": 2.37, "g": 112, "se": True},
            ),
            "regnety_16gf": (
                83_590_140,
                15_911_510_272,
                {"depth": 18, "w_0": 200, "w_a": 106.23, "w_m": 2.48, "g": 112, "se": True},
            ),
            "regnety_32gf": (
                145_046_770,
                32_279_552_832,
                {"depth": 20, "w_0": 232, "w_a": 115.89, "w_m": 2.53, "g": 232, "se": True},
            ),
        },
        note="Widths of the paper's tables; torchvision's 800MF and 8GF are wider.",
    ),
    Family(
        "efficientnet:EfficientNet",
        "Tan and Le, ICML 2019, arXiv:1905.11946",
        2019,
        {
            "efficientnet_b0": (
                5_288_548,
                385_814_752,
                {"width": 1.0, "depth": 1.0, "dropout": 0.2},
            ),
        },
        note=(
            "Symmetric padding, as in torchvision; the authors' TensorFlow code pads more on "
            "one side."
        ),
        input=(3, 224, 224),
    ),
    Family(
        "efficientnet:EfficientNet",
        "Tan and Le, ICML 2019, arXiv:1905.11946",
        2019,
        {
            "efficientnet_b1": (
                7_794_184,
                686_802_832,
                {"width": 1.0, "depth": 1.1, "dropout": 0.2},
            ),
        },
        note=(
            "Symmetric padding, as in torchvision; the authors' TensorFlow code pads more on "
            "one side."
        ),
        input=(3, 240, 240),
    ),
    Family(
        "efficientnet:EfficientNet",
        "Tan and Le, ICML 2019, arXiv:1905.11946",
        2019,
        {
            "efficientnet_b2": (
                9_109_994,
                993_561_872,
                {"width": 1.1, "depth": 1.2, "dropout": 0.3},
            ),
        },
        note=(
            "Symmetric padding, as in torchvision; the authors' TensorFlow code pads more on "
            "one side."
        ),
        input=(3, 260, 260),
    ),
    Family(
        "efficientnet:EfficientNet",
        "Tan and Le, ICML 2019, arXiv:1905.11946",
        2019,
        {
            "efficientnet_b3": (
                12_233_232,
                1_827_141_392,
                {"width": 1.2, "depth": 1.4, "dropout": 0.3},
            ),
        },
        note=(
            "Symmetric padding, as in torchvision; the authors' TensorFlow code pads more on "
            "one side."
        ),
        input=(3, 300, 300),
    ),
    Family(
        "efficientnet:EfficientNet",
        "Tan and Le, ICML 2019, arXiv:1905.11946",
        2019,
        {
            "efficientnet_b4": (
                19_341_616,
                4_393_771_024,
                {"width": 1.4, "depth": 1.8, "dropout": 0.4},
            ),
        },
        note=(
            "Symmetric padding, as in torchvision; the authors' TensorFlow code pads more on "
            "one side."
        ),
        input=(3, 380, 380),
    ),
    Family(
        "efficientnet:EfficientNet",
        "Tan and Le, ICML 2019, arXiv:1905.11946",
        2019,
        {
            "efficientnet_b5": (
                30_389_784,
                10_266_384_752,
                {"width": 1.6, "depth": 2.2, "dropout": 0.4, "eps": 0.001},
            ),
        },
        note=(
            "Symmetric padding, as in torchvision; the authors' TensorFlow code pads more on "
            "one side."
        ),
        input=(3, 456, 456),
    ),
    Family(
        "efficientnet:EfficientNet",
        "Tan and Le, ICML 2019, arXiv:1905.11946",
        2019,
        {
            "efficientnet_b6": (
                43_040_704,
                19_067_593_536,
                {"width": 1.8, "depth": 2.6, "dropout": 0.5, "eps": 0.001},
            ),
        },
        note=(
            "Symmetric padding, as in torchvision; the authors' TensorFlow code pads more on "
            "one side."
        ),
        input=(3, 528, 528),
    ),
    Family(
        "efficientnet:EfficientNet",
        "Tan and Le, ICML 2019, arXiv:1905.11946",
        2019,
        {
            "efficientnet_b7": (
                66_347_960,
                37_745_884_192,
                {"width": 2.0, "depth": 3.1, "dropout": 0.5, "eps": 0.001},
            ),
        },
        note=(
            "Symmetric padding, as in torchvision; the authors' TensorFlow code pads more on "
            "one side."
        ),
        input=(3, 600, 600),
    ),
    Family(
        "inception_bn:InceptionBN",
        "Ioffe and Szegedy, ICML 2015, arXiv:1502.03167",
        2015,
        {
            "inception_bn": (11_285_224, 2_032_600_064, {}),
        },
        note=(
            "The paths' widths of the paper's figure; its total of 576 for two blocks of stage 4 "
            "is 608. The first 7×7 is dense; the paper's is separable, with 8 maps a channel."
        ),
    ),
    Family(
        "inception_v3:InceptionV3",
        "Szegedy et al., CVPR 2016, arXiv:1512.00567",
        2015,
        {
            "inception_v3": (23_834_568, 5_713_216_096, {}),
        },
        note=(
            "Widths of the authors' code, as torchvision has them; counted without the "
            "auxiliary head of training: auxiliary=true."
        ),
        input=(3, 299, 299),
        smallest=75,
        smallest_small=7,
    ),
    Family(
        "inception_v4:InceptionV4",
        "Szegedy et al., AAAI 2017, arXiv:1602.07261",
        2016,
        {
            "inception_v4": (42_679_816, 12_253_974_624, {}),
        },
        note="Widths of the paper's figures 3 to 9.",
        input=(3, 299, 299),
        smallest=75,
        smallest_small=7,
    ),
    Family(
        "inception_resnet:InceptionResNetV2",
        "Szegedy et al., AAAI 2017, arXiv:1602.07261",
        2016,
        {
            "inception_resnet_v2": (55_843_464, 13_155_794_016, {}),
        },
        note="Widths, scales and the Inception-v3 stem of the authors' code, as in timm.",
        input=(3, 299, 299),
        smallest=75,
        smallest_small=7,
    ),
    Family(
        "convnext:ConvNeXt",
        "Liu et al., CVPR 2022, arXiv:2201.03545",
        2022,
        {
            "convnext_tiny": (
                28_589_128,
                4_455_531_264,
                {"depths": (3, 3, 9, 3), "widths": (96, 192, 384, 768), "drop_path": 0.1},
            ),
            "convnext_small": (
                50_223_688,
                8_683_712_256,
                {"depths": (3, 3, 27, 3), "widths": (96, 192, 384, 768), "drop_path": 0.4},
            ),
            "convnext_base": (
                88_591_464,
                15_354_729_472,
                {"depths": (3, 3, 27, 3), "widths": (128, 256, 512, 1024), "drop_path": 0.5},
            ),
        },
        note=(
            "With stochastic depth in training as in the paper: 0.1, 0.4 and 0.5; drop_path=0 "
            "leaves it out."
        ),
        smallest=32,
        smallest_small=8,
    ),
    Family(
        "airbench:Airbench",
        "Jordan 2024, arXiv:2404.00498",
        2024,
        {
            "airbench94": (1_972_792, 118_147_360, {}),
        },
        note="The first layer is learned; the paper's whitens patches of the training pictures.",
        input=(3, 32, 32),
        classes=10,
        smallest=9,
        smallest_small=None,
    ),
)

ZOO: dict[str, Row] = {row.name: row for family in FAMILIES for row in family.rows()}
