import type sharp from "sharp";
import { TRANSPARENT } from "./png";
import type { Pixels } from "./png";

/** The format of a picture's bytes among those that sharp reads for us, by their first bytes; else null. */
export function otherFormat(bytes: Buffer): "JPEG" | "WebP" | null {
  const text = (from: number, to: number): string => bytes.toString("latin1", from, to);
  if (text(0, 3) === "\xff\xd8\xff") return "JPEG";
  return text(0, 4) === "RIFF" && text(8, 12) === "WEBP" ? "WebP" : null;
}

/**
 * RGB of a JPEG or WebP file's bytes, upright as its EXIF orientation says, in sRGB. It runs on sharp's own threads.
 * @throws Error with what to do where sharp is missing, of transparent pixels, or with the decoder's words
 */
export async function decodeWithSharp(format: string, bytes: Buffer): Promise<Pixels> {
  const read = await loadSharp(format);
  const picture = read(bytes, { failOn: "truncated" });
  if ((await picture.metadata()).hasAlpha && !(await picture.stats()).isOpaque) throw new Error(TRANSPARENT);
  const { data, info } = await picture
    .rotate()
    .toColourspace("srgb")
    .removeAlpha()
    .raw()
    .toBuffer({ resolveWithObject: true });
  return { width: info.width, height: info.height, data };
}

async function loadSharp(format: string): Promise<typeof sharp> {
  try {
    return (await import("sharp")).default;
  } catch (cause) {
    throw new Error(
      `it is a ${format}, which is read with the package sharp, and that is not installed here; install it beside kpop-native (npm install sharp), or convert the picture to PNG`,
      { cause },
    );
  }
}
