"""The peer of bench/speed/cases/pictures.ts: the same model and work in diffusers' pipeline. Prints one JSON line."""
import json
import resource
import statistics
import sys
import time

from diffusers import DDIMScheduler, StableDiffusionPipeline

path, prompt, steps, guidance, together, repeats = sys.argv[1], sys.argv[2], *map(float, sys.argv[3:])
pipeline = StableDiffusionPipeline.from_pretrained(path, safety_checker=None)
pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)
pipeline.set_progress_bar_config(disable=True)


def median(count):
    seconds = []
    for i in range(-1, int(repeats)):
        start = time.perf_counter()
        pipeline(prompt, num_inference_steps=int(steps), guidance_scale=guidance, num_images_per_prompt=count)
        if i >= 0:
            seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


seconds = {"one picture": median(1), f"{int(together)} together": median(int(together))}
print(json.dumps({"seconds": seconds, "peakBytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}))
