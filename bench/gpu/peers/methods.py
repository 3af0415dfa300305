"""The peer of bench/gpu/methods.ts: the same work in PyTorch and diffusers, as a script of a paper would do it.

Takes the trial as JSON, prints one JSON line. The teacher is a second network. Trained weights are float32 under
autocast where the dtype is a half one. Texts are random: what they say does not change the work.
"""
import copy
import json
import resource
import statistics
import sys
import time

import torch
from diffusers import DDIMScheduler, UNet2DConditionModel

REPEATS, FEW_STEPS, POOL, PROMPT_ROWS, CA_BATCH = 3, 5, 16, 10, 4

trial = json.loads(sys.argv[1])
WARMUP = trial.get("warmup", 3)
if trial["method"] not in ("kpop", "esd", "ca", "uce", "generate", "unet"):
    print("null")  # nothing here does its work
    sys.exit()
device, dtype, iterations = trial["device"], getattr(torch, trial["dtype"]), trial.get("iterations")
with open(f"{trial['model']}/text_encoder/config.json") as file:
    tokens = json.load(file)["max_position_embeddings"]
torch.manual_seed(0)
teacher = UNet2DConditionModel.from_pretrained(f"{trial['model']}/unet", torch_dtype=dtype).to(device)
teacher.requires_grad_(False)
side, width = teacher.config.sample_size, teacher.config.cross_attention_dim
schedule = DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False,
                         set_alpha_to_one=False, steps_offset=1)
schedule.set_timesteps(50)
concept, neutral, empty = (torch.randn(1, tokens, width, device=device, dtype=dtype) for _ in range(3))
autocast = torch.autocast(torch.device(device).type, dtype, enabled=dtype != torch.float32)


def evaluate(unet, latents, timestep, context):
    with autocast:
        return unet(latents.to(dtype), timestep, context.to(dtype)).sample.float()


def student_of(trains):
    """A copy of the teacher, with the weights that are trained in float32."""
    student = copy.deepcopy(teacher)
    trained = [parameter for name, parameter in student.named_parameters() if trains(name)]
    for parameter in trained:
        parameter.data = parameter.data.float()
        parameter.requires_grad_(True)
    return student, trained


def guided_step(latents, timestep, conditional, unconditional):
    guided = unconditional + 3 * (conditional - unconditional)
    return schedule.step(guided, timestep, latents).prev_sample


def pool():
    return [torch.randn(1, 4, side, side, device=device) for _ in range(POOL)]


def kpop():
    student, trained = student_of(lambda name: "attn2" in name)
    prompt = (0.02 * torch.randn(1, PROMPT_ROWS, width, device=device)).requires_grad_()
    injected = [None]

    def inject(module, args, kwargs):
        if injected[0] is not None:
            context = kwargs["encoder_hidden_states"]
            kwargs["encoder_hidden_states"] = torch.cat([context, injected[0].to(context.dtype)], 1)
        return args, kwargs

    attention = student.mid_block.attentions[0].transformer_blocks[0].attn2
    attention.register_forward_pre_hook(inject, with_kwargs=True)
    prompt_optimizer, optimizer = torch.optim.Adam([prompt], 1e-3), torch.optim.Adam(trained, 1e-5)
    members = pool()

    def iteration(i):
        member, timestep = i % POOL, int(schedule.timesteps[i % 50])
        latents = members[member]
        with torch.no_grad():
            both = evaluate(teacher, torch.cat([latents] * 2), timestep, torch.cat([concept, neutral]))
        original, target = both.chunk(2)
        for parameter in trained:
            parameter.requires_grad_(False)
        injected[0] = prompt
        transfer = (evaluate(student, latents, timestep, concept) - original).square().mean()
        transfer.backward()
        prompt_optimizer.step()
        prompt_optimizer.zero_grad()
        for parameter in trained:
            parameter.requires_grad_(True)
        injected[0] = None
        plain = evaluate(student, latents, timestep, concept)
        erase = (plain - target).square().mean()
        erase.backward()
        with torch.no_grad():
            unconditional = evaluate(student, latents, timestep, empty)
            members[member] = guided_step(latents, timestep, plain.detach(), unconditional)
        injected[0] = prompt.detach()
        recover = (evaluate(student, latents, timestep, concept) - original).square().mean()
        (0.1 * recover).backward()
        injected[0] = None
        optimizer.step()
        optimizer.zero_grad()
        return [transfer.item(), erase.item(), recover.item()]

    return iteration, 6


def esd():
    student, trained = student_of(lambda name: "attn2" in name)
    optimizer = torch.optim.Adam(trained, 1e-5)
    members = pool()

    def iteration(i):
        member, timestep = i % POOL, int(schedule.timesteps[i % 50])
        latents = members[member]
        with torch.no_grad():
            both = evaluate(teacher, torch.cat([latents] * 2), timestep, torch.cat([concept, empty]))
        conditional, unconditional = both.chunk(2)
        plain = evaluate(student, latents, timestep, concept)
        loss = (plain - (2 * unconditional - conditional)).square().mean()
        loss.backward()
        with torch.no_grad():
            other = evaluate(student, latents, timestep, empty)
            members[member] = guided_step(latents, timestep, plain.detach(), other)
        optimizer.step()
        optimizer.zero_grad()
        return loss.item()

    return iteration, 4


def ca():
    student, trained = student_of(lambda name: "attn2.to_k" in name or "attn2.to_v" in name)
    optimizer = torch.optim.AdamW(trained, 1e-5, weight_decay=1e-2)
    clean = torch.randn(CA_BATCH, 4, side, side, device=device)
    anchors, concepts = neutral.repeat(CA_BATCH, 1, 1), concept.repeat(CA_BATCH, 1, 1)

    def iteration(_):
        timesteps = torch.randint(1000, (CA_BATCH,))
        latents = schedule.add_noise(clean, torch.randn_like(clean), timesteps.to(device))
        timesteps = timesteps.to(device)
        with torch.no_grad():
            target = evaluate(student, latents, timesteps, anchors)
        loss = (evaluate(student, latents, timesteps, concepts) - target).square().mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return loss.item()

    return iteration, 2 * CA_BATCH


def uce():
    """W' = (Σ v k' + λ W) (Σ k k' + λ 1)⁻¹ for every key and value projection; the rows of two texts are held."""
    erased, guide = concept[0].float(), neutral[0].float()
    held = torch.randn(2 * tokens, width, device=device)

    def run():
        for name, weight in teacher.named_parameters():
            if "attn2.to_k" not in name and "attn2.to_v" not in name:
                continue
            old = weight.float()
            gram = erased.T @ erased + 0.5 * held.T @ held + 0.5 * torch.eye(width, device=device)
            right = (guide @ old.T).T @ erased + 0.5 * old @ (held.T @ held) + 0.5 * old
            weight.data = torch.linalg.solve(gram, right.T).T.to(dtype)
        return weight.flatten()[0].item()

    return run


def generate(steps):
    latents = torch.randn(1, 4, side, side, device=device)
    schedule.set_timesteps(steps)
    with torch.no_grad():
        for timestep in schedule.timesteps:
            both = evaluate(teacher, torch.cat([latents] * 2), timestep, torch.cat([empty, concept]))
            unconditional, conditional = both.chunk(2)
            guided = unconditional + 7.5 * (conditional - unconditional)
            latents = schedule.step(guided, timestep, latents).prev_sample
    return latents.sum().item()


def unet(batches, repeats):
    """Seconds of a forward, and of a forward and backward into attn2, by batch."""
    trained = [parameter.requires_grad_(True) for name, parameter in teacher.named_parameters() if "attn2" in name]
    found = {"forward": {}, "training": {}}
    for batch in batches:
        latents = torch.randn(batch, 4, side, side, device=device, dtype=dtype)
        context = concept.expand(batch, -1, -1)

        def forward():
            with torch.no_grad():
                teacher(latents, 500, context).sample.mean().item()

        def training():
            teacher(latents, 500, context).sample.square().mean().backward()
            trained[0].grad.mean().item()
            for parameter in trained:
                parameter.grad = None

        for body in (forward, training):
            body()
            found[body.__name__][batch] = statistics.median(seconds_of(body) for _ in range(repeats))
    return found


def seconds_of(body):
    """Every body ends with reading a value, which waits for the device."""
    start = time.perf_counter()
    body()
    return time.perf_counter() - start


method = trial["method"]
if method == "unet":
    print(json.dumps(unet(trial["batches"], trial["repeats"])))
    sys.exit()
if method == "uce":
    run = uce()
    run()
    seconds, evaluations = [seconds_of(run) for _ in range(REPEATS)], 0
elif method == "generate":
    generate(FEW_STEPS)
    seconds, evaluations = [], 2
    for _ in range(REPEATS):
        short = seconds_of(lambda: generate(FEW_STEPS))
        seconds.append((seconds_of(lambda: generate(FEW_STEPS + iterations)) - short) / iterations)
else:
    iteration, evaluations = {"kpop": kpop, "esd": esd, "ca": ca}[method]()
    for i in range(WARMUP):
        iteration(i)
    seconds = [seconds_of(lambda i=i: iteration(i)) for i in range(WARMUP, WARMUP + iterations)]

seconds, repeats = statistics.median(seconds), len(seconds)
bytes_held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
if "speed" in trial:  # a measurement of bench/speed, under the name that it asks for
    print(json.dumps({"seconds": {trial["speed"]: seconds}, "peakBytes": bytes_held}))
else:
    print(json.dumps({"seconds": seconds, "repeats": repeats, "evaluations": evaluations, "hostBytes": bytes_held}))
