import { open } from "node:fs/promises";
import { basename } from "node:path";
import { KpopError } from "../errors";
import { onDisk } from "../files/system-error";

const PICKLE = /[^/\\]\.(?:ckpt|bin|pt|pth|pkl)$/i;

/** Whether a file of this name holds pickled weights; ".bin", a name without a stem, does not. */
export function isPickleName(name: string): boolean {
  return PICKLE.test(name);
}

/** The refusal of a pickled file: the reason and the way out. */
export function pickleRefused(path: string): KpopError {
  return new KpopError(
    "UNSUPPORTED_FORMAT",
    `${path} holds pickled weights, and unpickling runs whatever code the file contains; ` +
      "get the model as safetensors, or convert it where you trust it, for example in Python with " +
      (basename(path).endsWith(".ckpt")
        ? 'StableDiffusionPipeline.from_single_file("model.ckpt").save_pretrained("folder")'
        : 'StableDiffusionPipeline.from_pretrained("folder").save_pretrained("new-folder", safe_serialization=True)'),
  );
}

/** Whether a file starts as pickles (bare, or in a zip) do. A safetensors file may start with the same bytes, which
 *  are then its header's length; its ninth byte is "{". */
export async function startsAsPickle(path: string): Promise<boolean> {
  return await onDisk("read", path, async () => {
    const file = await open(path, "r");
    try {
      const { buffer, bytesRead } = await file.read(Buffer.alloc(9), 0, 9, 0);
      if (bytesRead === 9 && buffer[8] === 0x7b) return false;
      const zip = buffer.subarray(0, 4).equals(Buffer.from("PK\x03\x04"));
      return zip || (buffer[0] === 0x80 && buffer[1]! >= 2 && buffer[1]! <= 5);
    } finally {
      await file.close();
    }
  });
}
