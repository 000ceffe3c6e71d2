#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""One layer quantized by PyTorch, column by column, and by gpfq, in the same run on one core: a line of JSON with seconds
and ratios. PyTorch's two ways are the usual ones: all neurons' residuals updated by outer products (U += outer(x, w)), and
the recursion on G = XqT Xq and C = XqT X, one input at a time. Needs NumPy and PyTorch (h5py to compare codes, too).

    tests/bench/columns.py build/src/gpfq [--samples 1024] [--inputs 4096] [--neurons 2048] [--levels 15]
"""
import argparse
import json
import os
import pathlib
import subprocess
import tempfile
import time

for variable in "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS":
    os.environ[variable] = "1"
import numpy as np  # noqa: E402 (after the threads are set)
import torch  # noqa: E402


def make_layer(samples, inputs, neurons):
    """Inputs like a trained network's: rectified, those of the quantized network a little off."""
    draw = np.random.default_rng(1)
    analog = np.maximum(draw.uniform(-1, 1, (samples, inputs)), 0).astype(np.float32)
    quantized = np.maximum(analog + 0.1 * draw.uniform(-1, 1, (samples, inputs)), 0).astype(np.float32)
    return analog, quantized, draw.uniform(-1, 1, (neurons, inputs)).astype(np.float32)


class Alphabet:
    """`levels` equispaced values on [-radius, radius]; of two that are as near, the upper one."""

    def __init__(self, levels, radius):
        self.levels = levels
        self.step = float(np.float32(radius / (levels - 1)))

    def codes(self, values):
        return torch.floor(values / (2 * self.step) + 0.5 * self.levels).clamp_(0, self.levels - 1)

    def values(self, codes):
        return (2 * codes - (self.levels - 1)) * self.step


def by_residuals(X, Xq, W, alphabet):
    """X, Xq: samples x inputs; W: inputs x neurons. A column of each is contiguous, as is a row of W."""
    U = torch.zeros(X.shape[0], W.shape[1])
    codes = torch.empty_like(W)
    for t in range(W.shape[0]):
        x, xq = X[:, t], Xq[:, t]
        U += torch.outer(x, W[t])
        codes[t] = alphabet.codes(torch.mv(U.T, xq) / torch.dot(xq, xq))
        U -= torch.outer(xq, alphabet.values(codes[t]))
    return codes


def by_products(X, Xq, W, alphabet):
    """c_t = C_t,0..t w - G_t,0..t-1 q, an input at a time for all neurons."""
    G, C = Xq.T @ Xq, Xq.T @ X
    Q = torch.empty_like(W)
    codes = torch.empty_like(W)
    for t in range(W.shape[0]):
        c = torch.mv(W[:t + 1].T, C[t, :t + 1]) - torch.mv(Q[:t].T, G[t, :t])
        codes[t] = alphabet.codes(c / G[t, t])
        Q[t] = alphabet.values(codes[t])
    return codes


def product_rate(order=2048):
    """Best of a few products of two square matrices, flops per second."""
    a = torch.full((order, order), 0.5)
    best = 0.0
    for _ in range(4):
        start = time.perf_counter()
        torch.mm(a, a)
        best = max(best, 2 * order**3 / (time.perf_counter() - start))
    return best


def timed(work, *arguments):
    start = time.perf_counter()
    result = work(*arguments)
    return time.perf_counter() - start, result


def run_gpfq(program, folder, arrays, levels, radius):
    """@returns the report of the layer, and its codes where h5py is at hand"""
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    layer = {"name": "layer", "weight": {"file": "weights.npy"}, "inputs": {"file": "inputs.npy"},
             "quantized_inputs": {"file": "quantized_inputs.npy"}}
    config = {"layers": [layer], "threads": 1, "output": "run",
              "quantization": {"preset": "paper", "levels": levels, "radius": {"rule": "value", "value": radius}}}
    (folder / "job.json").write_text(json.dumps(config))
    subprocess.run([program, "quantize", folder / "job.json"], check=True, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL)
    report = json.loads((folder / "run/report.json").read_text())["layers"][0]
    try:
        import h5py
    except ImportError:
        return report, None
    with h5py.File(folder / "run/quantized.h5") as file:
        return report, file["layers/layer/codes"][()]


def differing(codes, other):
    return None if other is None else float(np.mean(codes.T.numpy() != other))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", help="the built gpfq")
    parser.add_argument("--samples", type=int, default=1024, help="m")
    parser.add_argument("--inputs", type=int, default=4096, help="N")
    parser.add_argument("--neurons", type=int, default=2048, help="n")
    parser.add_argument("--levels", type=int, default=15)
    parser.add_argument("--folder", type=pathlib.Path, help="where its files lie while it runs")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    analog, quantized, weights = make_layer(options.samples, options.inputs, options.neurons)
    radius = 3 * float(np.median(np.abs(weights)))
    alphabet = Alphabet(options.levels, radius)

    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        arrays = {"inputs": analog, "quantized_inputs": quantized, "weights": weights}
        report, codes = run_gpfq(options.program, pathlib.Path(folder), arrays, options.levels, radius)
    gpfq_seconds = sum(seconds for phase, seconds in report["seconds"].items() if phase != "load")

    # Columns of the inputs contiguous, inputs x neurons of the weights: the order in which they are used.
    X, Xq = (torch.from_numpy(np.asfortranarray(array)) for array in (analog, quantized))
    W = torch.from_numpy(np.ascontiguousarray(weights.T))
    rate = product_rate()
    residual_seconds, by_residual = timed(by_residuals, X, Xq, W, alphabet)
    product_seconds, by_product = timed(by_products, X, Xq, W, alphabet)
    rate = max(rate, product_rate())
    print(json.dumps({
        "benchmark": "columns", "samples": options.samples, "inputs": options.inputs, "neurons": options.neurons,
        "levels": options.levels, "form": report["form"], "block": report["block"], "torch": torch.__version__,
        "gpfq_seconds": gpfq_seconds, "columns_seconds": residual_seconds, "gram_columns_seconds": product_seconds,
        "times_faster_than_columns": residual_seconds / gpfq_seconds,
        "times_faster_than_gram_columns": product_seconds / gpfq_seconds,
        "torch_sgemm_gflops": rate * 1e-9,
        "codes_differing_from_columns": differing(by_residual, codes),
        "codes_differing_from_gram_columns": differing(by_product, codes)}))


if __name__ == "__main__":
    main()
