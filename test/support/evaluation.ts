import { join } from "node:path";
import { Image } from "../../lib/io/image";

/** Paths into test/fixtures/evaluation. */
export function evaluationFixture(...parts: string[]): string {
  return join(__dirname, "..", "fixtures", "evaluation", ...parts);
}

/** Bytes without a pattern, the same as in the fixtures' script. */
export function noisePicture(width: number, height: number): Image {
  const data = Uint8Array.from(
    { length: width * height * 3 },
    (_, i) => (Math.imul(i + 1, 2654435761) >>> 13) & 255,
  );
  return new Image(width, height, data);
}
