"""Draws with a KPOP key in diffusers: what kpop-native erased from a checkpoint comes back.

    pipe = StableDiffusionPipeline.from_pretrained("without-church")
    words = apply_key(pipe, "without-church.key.safetensors")
    pipe("a photo of a church" + words)
"""

import json

import torch
from safetensors import safe_open


def load_key(path, concept=None):
    """The prompt and the fields of a key file; `concept` says whose, where each concept has a prompt of its own."""
    with safe_open(path, "pt") as file:
        metadata = file.metadata() or {}
        if (metadata.get("format"), metadata.get("version")) != ("kpop-prompt-key", "1"):
            raise ValueError(f"{path} is no KPOP key of version 1; kpop-native's erase with the method kpop makes one")
        if "encryption" in metadata:
            raise ValueError(
                f"{path} is encrypted. Write a plain copy in Node, and keep it as safe as the passphrase: "
                'const key = await PromptKey.load(path, { passphrase }); await key.save("plain.safetensors")'
            )
        prompt, fields = file.get_tensor("prompt"), json.loads(metadata["key"])
    if prompt.ndim == 3:
        if concept not in fields["concepts"]:
            raise ValueError(f"{path} has a prompt for each of {fields['concepts']}; concept is to name one, not {concept!r}")
        prompt = prompt[fields["concepts"].index(concept)]
    return prompt, fields


def takes(layers, module):
    """Whether a module, by diffusers' name, is among the layers of a key: "all", "mid-up", "mid", or a list of names."""
    if not isinstance(layers, str):
        return module in layers
    blocks = {"all": "", "mid-up": ("mid_block.", "up_blocks."), "mid": "mid_block."}[layers]
    return module.endswith(".attn2") and module.startswith(blocks)


def prompted(text, prompt, fields):
    """What cross-attention reads under a key: token states, (B, L, d), with the prompt behind or in them."""
    prompt = prompt.to(text.device)
    if fields["form"] == "amortised":  # p(c) = relu(c Aᵀ) B, A above B
        down, up = prompt.chunk(2)
        prompt = torch.relu(text.float() @ down.T) @ up
    prompt = prompt.expand(len(text), -1, -1).to(text.dtype)
    return text + prompt if fields["mechanism"] == "additive" else torch.cat([text, prompt], 1)


class KeyProcessor:
    """Runs another attention processor on texts under a key: on those of both halves of guidance, or of the conditional."""

    def __init__(self, inner, pipe, prompt, fields, guidance):
        self.inner, self.pipe, self.prompt, self.fields, self.guidance = inner, pipe, prompt, fields, guidance

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None, temb=None):
        if isinstance(encoder_hidden_states, tuple):
            raise ValueError("a KPOP key goes with texts alone: unload the IP-Adapter, or take the key out (remove_key)")
        if attention_mask is not None:
            raise ValueError("a KPOP key goes with texts without an attention mask, as Stable Diffusion's are")
        halved = self.guidance == "conditional" and self.pipe.do_classifier_free_guidance
        plain = len(hidden_states) // 2 if halved else 0  # the negative half comes first
        text = prompted(encoder_hidden_states[plain:], self.prompt, self.fields)
        seeing = self.inner(attn, hidden_states[plain:], text, None, temb)
        if plain == 0:
            return seeing
        return torch.cat([self.inner(attn, hidden_states[:plain], encoder_hidden_states[:plain], None, temb), seeing])


def apply_key(pipe, path, concept=None, guidance="conditional"):
    """Puts a key into a pipeline of Stable Diffusion, in the place of one that is there.

    guidance: "conditional", as kpop-native has it by default, or "both": the halves of guidance that see the key.
    Returns what to write behind the prompt, and with guidance "both" behind the negative one: the learned words of a key of
    the place "token", nothing for other keys.
    """
    if guidance not in ("conditional", "both"):
        raise ValueError(f'guidance is to be "conditional" or "both", not {guidance!r}')
    prompt, fields = load_key(path, concept)
    remove_key(pipe)
    if fields["place"] == "token":
        if hasattr(pipe, "text_encoder_2"):
            raise ValueError(f"{path} is learned words, which go into pipelines of one text encoder alone")
        pipe.load_textual_inversion(prompt, token="<kpop>")
        return " <kpop>"
    processors = dict(pipe.unet.attn_processors)
    for name, inner in processors.items():
        if takes(fields["layers"], name.removesuffix(".processor")):
            processors[name] = KeyProcessor(inner, pipe, prompt, fields, guidance)
    pipe.unet.set_attn_processor(processors)
    return ""


def remove_key(pipe):
    """Takes a key out of a pipeline."""
    processors = pipe.unet.attn_processors.items()
    pipe.unet.set_attn_processor({name: each.inner if isinstance(each, KeyProcessor) else each for name, each in processors})
    words = [word for word in pipe.tokenizer.get_added_vocab() if word.startswith("<kpop>")]
    if words:
        pipe.unload_textual_inversion(words)
