"""A feature network of a few numbers, for tests: 8x8 images, mean over 4x4 blocks, one matrix.

    pip install onnx numpy
    python tests/reference/tiny_onnx.py        writes tests/golden/features_tiny.onnx and features_tiny_bad.onnx

`features_tiny.onnx`: `image` [n, 3, 8, 8] -> `blocks` [n, 12] and `feat` [n, 5].
`features_tiny_bad.onnx`: takes [n, 16], which is no image.
"""

import pathlib

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

GOLDEN = pathlib.Path(__file__).parent.parent / "golden"


def matrix():
    return np.random.default_rng(1).normal(size=(12, 5)).astype(np.float32)


def save(name, nodes, inputs, outputs, weights):
    tensor = lambda name, shape: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
    graph = helper.make_graph(
        nodes, "tiny", [tensor(*i) for i in inputs], [tensor(*o) for o in outputs],
        [numpy_helper.from_array(value, key) for key, value in weights.items()])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    (GOLDEN / name).write_bytes(model.SerializeToString())


if __name__ == "__main__":
    save("features_tiny.onnx",
         [helper.make_node("AveragePool", ["image"], ["pooled"], kernel_shape=[4, 4], strides=[4, 4]),
          helper.make_node("Flatten", ["pooled"], ["blocks"]),
          helper.make_node("MatMul", ["blocks", "w"], ["feat"])],
         [("image", ["n", 3, 8, 8])], [("blocks", ["n", 12]), ("feat", ["n", 5])], {"w": matrix()})
    save("features_tiny_bad.onnx",
         [helper.make_node("MatMul", ["numbers", "w"], ["feat"])],
         [("numbers", ["n", 12])], [("feat", ["n", 5])], {"w": matrix()})
