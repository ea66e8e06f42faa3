"""An ONNX file in 8 bits, by ONNX Runtime's calibration: what is rounded, and what is not."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from convworks.deploy.runtime import INPUT, Pixels
from convworks.extras import need

QUANTIZED = ("Conv", "Gemm", "MatMul", "Relu", "Clip", "Concat", "MaxPool", "AveragePool")
"""Operators that are computed in 8 bits. With activations among them rounding is part of the
convolution before, in either runtime; without, OpenVINO rounds in passes of their own, and
ResNet-50 takes 282 ms for 32 pictures, not 153. Sums of branches need no rounding of their own."""
JOINING = ("Concat", "MaxPool", "AveragePool")
"""Operators that hand on what they read; see `_before_norms`."""


def quantize(path: Path, ranges: Iterator[Pixels]) -> None:
    """The network at that path in 8 bits: weights by channel, activations by what was seen."""
    quantization = need("onnxruntime.quantization")
    shape_inference = need("onnxruntime.quantization.shape_inference")

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc,name-defined]
        def get_next(self) -> dict[str, Pixels] | None:
            pixels = next(ranges, None)
            return None if pixels is None else {INPUT: pixels}

    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        prepared = Path(folder) / "prepared.onnx"
        shape_inference.quant_pre_process(str(path), str(prepared), skip_symbolic_shape=True)
        quantization.quantize_static(
            str(prepared),
            str(path),
            Reader(),
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=True,
            weight_type=quantization.QuantType.QInt8,
            activation_type=quantization.QuantType.QUInt8,
            op_types_to_quantize=list(QUANTIZED),
            nodes_to_exclude=_before_norms(need("onnx").load(prepared)),
        )


def _before_norms(model: Any) -> list[str]:
    """Names of the nodes that join or pool what a norm reads that is in no convolution.

    Eight bits are shared out over the range of all channels together. The norm then divides each
    by its own deviation, and with it the rounding: DenseNet's oldest and newest channels, joined,
    differ too much for that. Convolutions' own outputs are rounded each by itself.
    """
    makers = {output: node for node in model.graph.node for output in node.output}
    read = [node.input[0] for node in model.graph.node if node.op_type == "BatchNormalization"]
    found: set[str] = set()
    while read:
        node = makers.get(read.pop())
        if node and node.op_type in JOINING and node.name not in found:
            found.add(node.name)
            read += node.input
    return sorted(found)
