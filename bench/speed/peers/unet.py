"""The peer of bench/speed/cases/unet.ts: the same network and work in PyTorch and diffusers. Prints one JSON line."""
import json
import resource
import statistics
import sys
import time

import torch
from diffusers import UNet2DConditionModel

dtype, repeats = getattr(torch, sys.argv[1]), int(sys.argv[2])
torch.manual_seed(0)
unet = UNet2DConditionModel(
    sample_size=64, cross_attention_dim=768, attention_head_dim=8, block_out_channels=(320, 640, 1280, 1280),
    down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
    up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
).to(dtype)
unet.requires_grad_(False)
with torch.no_grad():
    for parameter in unet.parameters():
        parameter.normal_(std=0.02)
sample, context = torch.randn(1, 4, 64, 64, dtype=dtype), torch.randn(1, 77, 768, dtype=dtype)


def median(body):
    seconds = []
    for i in range(-1 if repeats > 1 else 0, repeats):
        start = time.perf_counter()
        body()
        if i >= 0:
            seconds.append(time.perf_counter() - start)
    print(f"peer, {sys.argv[1]}: {body.__name__} {statistics.median(seconds):.2f} s", file=sys.stderr, flush=True)
    return statistics.median(seconds)


def forward():
    with torch.no_grad():
        unet(sample, 500, context).sample


def training():
    unet(sample, 500, context).sample.square().mean().backward()
    for parameter in trained:
        parameter.grad = None


seconds = {"forward": median(forward)}
trained = [parameter for name, parameter in unet.named_parameters() if "attn2" in name]
for parameter in trained:
    parameter.requires_grad_(True)
seconds["forward+backward"] = median(training)
print(json.dumps({"seconds": seconds, "peakBytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}))
