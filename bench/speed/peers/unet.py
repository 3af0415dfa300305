"""The peer of bench/speed/cases/unet.ts: the same network and work in PyTorch and diffusers. Prints one JSON line."""
import json
import resource
import statistics
import sys
import time

import torch
from diffusers import UNet2DConditionModel

config, dtype, repeats = json.loads(sys.argv[1]), getattr(torch, sys.argv[2]), int(sys.argv[3])
torch.manual_seed(0)
# Without data at first: diffusers would draw all weights of its own.
with torch.device("meta"):
    unet = UNet2DConditionModel.from_config(config)
unet = unet.to(dtype).to_empty(device="cpu").requires_grad_(False)
with torch.no_grad():
    for parameter in unet.parameters():
        parameter.normal_(std=0.02)
side, width = 64, config["cross_attention_dim"]
sample, context = torch.randn(1, 4, side, side, dtype=dtype), torch.randn(1, 77, width, dtype=dtype)
added = {}
if config.get("addition_embed_type") == "text_time":
    pooled = config["projection_class_embeddings_input_dim"] - 6 * config["addition_time_embed_dim"]
    sizes = torch.tensor([[8.0 * side, 8.0 * side, 0, 0, 8.0 * side, 8.0 * side]])
    added = {"added_cond_kwargs": {"text_embeds": torch.randn(1, pooled, dtype=dtype), "time_ids": sizes}}


def median(body):
    seconds = []
    for i in range(-1 if repeats > 1 else 0, repeats):
        start = time.perf_counter()
        body()
        if i >= 0:
            seconds.append(time.perf_counter() - start)
    print(f"peer, {sys.argv[2]}: {body.__name__} {statistics.median(seconds):.2f} s", file=sys.stderr, flush=True)
    return statistics.median(seconds)


def forward():
    with torch.no_grad():
        unet(sample, 500, context, **added).sample


def training():
    unet(sample, 500, context, **added).sample.square().mean().backward()
    for parameter in trained:
        parameter.grad = None


seconds = {"forward": median(forward)}
if sys.argv[4] == "training":
    trained = [parameter for name, parameter in unet.named_parameters() if "attn2" in name]
    for parameter in trained:
        parameter.requires_grad_(True)
    seconds["forward+backward"] = median(training)
print(json.dumps({"seconds": seconds, "peakBytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}))
