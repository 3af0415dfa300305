"""A node for ComfyUI that draws with a KPOP key: what kpop-native erased from a checkpoint comes back. See README.md."""

import os

import folder_paths
import torch
from comfy.ldm.modules.attention import optimized_attention

from .kpop_key import load_key, prompted, takes

FOLDER = "kpop_keys"
folder_paths.add_model_folder_path(FOLDER, os.path.join(folder_paths.models_dir, FOLDER))

PROMPT = 0  # what ComfyUI calls the rows of a prompt in cond_or_uncond; those of a negative one are 1


class KeyPatch:
    """What the cross-attention of a model reads under a key.

    ComfyUI evaluates a prompt and a negative one as one batch where memory allows, in chunks of equal size whose kinds stand
    in cond_or_uncond. A patch of attn2 gives them all texts of one length, so that rows behind those that do not see the key
    are cut off again by a replacement of attn2.
    """

    def __init__(self, prompt, fields, guidance, resnets):
        self.prompt, self.fields, self.guidance, self.resnets = prompt, fields, guidance, resnets

    def chosen(self, block, index=0):
        """Whether the key enters a transformer block: ("input", 4), its index there."""
        kind, number = block
        if kind == "middle":
            place = "mid_block.attentions.0"
        else:
            # Block 0 on the way down is conv_in; each level has its resnets, and one more block.
            level, at = divmod(number - (kind == "input"), self.resnets + 1)
            place = f"{'down' if kind == 'input' else 'up'}_blocks.{level}.attentions.{at}"
        return takes(self.fields["layers"], f"{place}.transformer_blocks.{index}.attn2")

    def under_key(self, text):
        """Long prompts are several texts of 77 rows, one behind the other, of which an additive prompt is in each."""
        if self.fields["mechanism"] == "concat":
            return prompted(text, self.prompt, self.fields)
        each = text.reshape(-1, 77, text.shape[-1])
        return prompted(each, self.prompt, self.fields).reshape(text.shape)

    def sees(self, extra):
        return [self.guidance == "both" or kind == PROMPT for kind in extra["cond_or_uncond"]]

    def read(self, n, context, value, extra):
        """Patch of attn2: texts as its keys and values read them."""
        sees = self.sees(extra)
        if not any(sees) or not self.chosen(extra["block"], extra["block_index"]):
            return n, context, value
        own = self.mixed(context, sees, extra)
        return n, own, own if value is context else self.mixed(value, sees, extra)

    def mixed(self, text, sees, extra):
        """Under the key where a chunk sees it. Rows behind the others are NaN: left in by mistake, they would not go unseen."""
        own = self.under_key(text)
        if all(sees):
            return own
        extra["kpop_behind"] = behind = own.shape[1] - text.shape[1]
        plain = torch.nn.functional.pad(text, (0, 0, 0, behind), value=float("nan"))
        kinds = zip(own.chunk(len(sees)), plain.chunk(len(sees)), sees)
        return torch.cat([with_key if seeing else without for with_key, without, seeing in kinds])

    def attend(self, q, k, v, extra):
        """Replacement of attn2: its attention, without the rows behind a text that does not see the key."""
        precision = {"attn_precision": extra["attn_precision"]} if "attn_precision" in extra else {}
        behind = extra.get("kpop_behind", 0)
        if behind == 0:
            return optimized_attention(q, k, v, extra["n_heads"], **precision)
        sees, length = self.sees(extra), k.shape[1]
        parts = []
        for own_q, own_k, own_v, seeing in zip(q.chunk(len(sees)), k.chunk(len(sees)), v.chunk(len(sees)), sees):
            rows = length if seeing else length - behind
            parts.append(optimized_attention(own_q, own_k[:, :rows], own_v[:, :rows], extra["n_heads"], **precision))
        return torch.cat(parts)


class KPOPKey:
    """Node: a model that draws with a key."""

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "model": ("MODEL",),
                "key": (folder_paths.get_filename_list(FOLDER),),
                "guidance": (["conditional", "both"], {"tooltip": "the halves of guidance that see the key"}),
                "concept": ("STRING", {"default": "", "tooltip": "whose prompt, where the key has one for each concept"}),
            }
        }

    RETURN_TYPES = ("MODEL",)
    FUNCTION = "apply"
    CATEGORY = "model_patches"

    def apply(self, model, key, guidance, concept):
        path = folder_paths.get_full_path(FOLDER, key)
        prompt, fields = load_key(path, concept)
        if fields["place"] == "token":
            raise ValueError(
                f"{key} is learned words, which stand in the text: copy the file into models/embeddings and write "
                f"embedding:{os.path.splitext(os.path.basename(key))[0]} behind the prompt, without this node"
            )
        model = model.clone()
        unet = model.model.diffusion_model
        patch = KeyPatch(prompt, fields, guidance, unet.num_res_blocks[0])
        model.set_model_attn2_patch(patch.read)
        if fields["mechanism"] == "concat" and guidance == "conditional":
            blocks = [("input", at) for at in range(len(unet.input_blocks))] + [("middle", 0)]
            blocks += [("output", at) for at in range(len(unet.output_blocks))]
            replaced = model.model_options["transformer_options"].get("patches_replace", {}).get("attn2", {})
            if replaced:
                raise ValueError(
                    "another node replaces cross-attention (attn2) in this model, and so does a key that one half of "
                    'guidance alone sees: set guidance to "both", or take that node out'
                )
            for block in blocks:
                model.set_model_attn2_replace(patch.attend, *block)
        return (model,)


NODE_CLASS_MAPPINGS = {"KPOPKey": KPOPKey}
NODE_DISPLAY_NAME_MAPPINGS = {"KPOPKey": "KPOP key"}
