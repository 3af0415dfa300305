import { createRequire } from "node:module";
import { join } from "node:path";
import { Random, safetensors, Tensor } from "../../lib/index";
import { CONCEPTS, STYLES } from "./concepts";
import { exists } from "./files";

/** Side of a picture in pixels. */
export const SIDE = 64;
/** Drawings of each icon to learn from; the first is plain, the others are scaled by 0.9 to 1 and shifted a little. */
export const VARIANTS = 16;

/** What sharp is used for. */
type Sharp = (input: Buffer) => {
  resize(width: number, height: number): ReturnType<Sharp>;
  extend(
    border: Record<"top" | "bottom" | "left" | "right", number> & { background: string },
  ): ReturnType<Sharp>;
  flatten(options: { background: string }): ReturnType<Sharp>;
  removeAlpha(): ReturnType<Sharp>;
  raw(): ReturnType<Sharp>;
  toBuffer(): Promise<Buffer>;
};

interface IconSet {
  width?: number;
  height?: number;
  icons: Record<string, Icon>;
  aliases?: Record<string, { parent: string }>;
}

interface Icon {
  body: string;
  left?: number;
  top?: number;
  width?: number;
  height?: number;
}

/** One drawing of a concept in a style. */
export interface Picture {
  concept: number;
  style: number;
}

/** All pictures that the sets have of the concepts. */
export class Pictures {
  private constructor(
    readonly list: readonly Picture[],
    /** (pictures, variants, 3, SIDE, SIDE) uint8 */
    private readonly pixels: Tensor,
    readonly variants: number,
  ) {}

  /**
   * Draws the icons, or reads what an earlier run drew into the same file.
   * @param packages the folder whose node_modules hold the icon sets and sharp
   * @param plain whether the first drawing of each is neither scaled nor shifted
   */
  static async prepare(
    path: string,
    packages: string,
    options: { seed: number; variants: number; plain: boolean },
  ): Promise<Pictures> {
    const { seed, variants, plain } = options;
    const { sets, list } = readSets(packages);
    if (!(await exists(path))) {
      const sharp = createRequire(join(packages, "package.json"))("sharp") as Sharp;
      const pixels = Tensor.empty([list.length, variants, 3, SIDE, SIDE], "uint8");
      const bytes = pixels.hostBytes();
      const size = 3 * SIDE * SIDE;
      for (const [index, picture] of list.entries()) {
        for (let variant = 0; variant < variants; variant++) {
          const random = new Random(seed).at("picture", index, variant);
          const rgb = await draw(
            sharp,
            sets[picture.style]!,
            CONCEPTS[picture.concept]!,
            random,
            variant > 0 || !plain,
          );
          bytes.set(planes(rgb), (index * variants + variant) * size);
        }
      }
      await safetensors.save(path, new Map([["pixels", pixels]]));
      pixels.dispose();
    }
    return new Pictures(list, (await safetensors.load(path)).get("pixels")!, variants);
  }

  /** (B, 3, SIDE, SIDE) float32 in [-1, 1]. */
  batch(choices: readonly { picture: number; variant: number }[], device: string): Tensor {
    const rows = choices.map(({ picture, variant }) => picture * this.variants + variant);
    return this.pixels
      .reshape([-1, 3, SIDE, SIDE])
      .indexSelect(0, Tensor.from(rows, [rows.length], { dtype: "int64" }))
      .to({ dtype: "float32", device })
      .div(127.5)
      .sub(1);
  }
}

function readSets(packages: string): { sets: IconSet[]; list: Picture[] } {
  const require = createRequire(join(packages, "package.json"));
  const sets = STYLES.map((style) => require(`${style.package}/icons.json`) as IconSet);
  const list = CONCEPTS.flatMap((name, concept) =>
    sets.flatMap((set, style) => (iconNamed(set, name) === undefined ? [] : [{ concept, style }])),
  );
  return { sets, list };
}

function iconNamed(set: IconSet, concept: string): Icon | undefined {
  const name = concept.replaceAll(" ", "-");
  return set.icons[name] ?? set.icons[set.aliases?.[name]?.parent ?? ""];
}

async function draw(
  sharp: Sharp,
  set: IconSet,
  concept: string,
  random: Random,
  moved: boolean,
): Promise<Buffer> {
  const icon = iconNamed(set, concept)!;
  const [width, height] = [icon.width ?? set.width ?? 16, icon.height ?? set.height ?? 16];
  const side = moved ? Math.round(SIDE * (0.9 + 0.1 * random.at("scale").uniform())) : SIDE;
  const left = random.at("left").below(SIDE - side + 1);
  const top = random.at("top").below(SIDE - side + 1);
  const box = `${icon.left ?? 0} ${icon.top ?? 0} ${width} ${height}`;
  const svg =
    `<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" ` +
    `viewBox="${box}" width="${4 * SIDE}" height="${4 * SIDE}">${icon.body}</svg>`;
  const background = "#ffffff";
  return sharp(Buffer.from(svg))
    .resize(side, side)
    .flatten({ background })
    .extend({ left, top, right: SIDE - side - left, bottom: SIDE - side - top, background })
    .removeAlpha()
    .raw()
    .toBuffer();
}

/** Interleaved RGB as three planes. */
function planes(rgb: Buffer): Uint8Array {
  const count = rgb.length / 3;
  const result = new Uint8Array(rgb.length);
  for (let i = 0; i < count; i++) for (let c = 0; c < 3; c++) result[c * count + i] = rgb[3 * i + c]!;
  return result;
}
