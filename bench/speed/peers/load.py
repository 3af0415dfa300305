"""The peer of bench/speed/cases/load.ts: the same file through Python's safetensors. Prints one JSON line.

Its tensors are views of the mapped file; with "copy" each is copied into memory of its own. Ours are what the trial says too.
"""
import json
import math
import resource
import sys
import time

import torch  # noqa: F401  (imported before the clock starts, as our addon is)
from safetensors.torch import load_file

start = time.perf_counter()
tensors = load_file(sys.argv[1])
if sys.argv[2] == "copy":
    tensors = {name: tensor.clone() for name, tensor in tensors.items()}
total = sum(tensor.sum().item() for tensor in tensors.values())
assert math.isfinite(total)
seconds = {"load and touch": time.perf_counter() - start}
print(json.dumps({"seconds": seconds, "peakBytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}))
