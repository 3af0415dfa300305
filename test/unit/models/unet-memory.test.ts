import { readFileSync } from "node:fs";
import { join } from "node:path";
import { UNet2DConditionModel } from "../../../lib/models/unet";
import { passElements, savedElements } from "../../../lib/models/unet-memory";
import { unetOperations } from "../../../lib/models/unet-operations";
import { pocket } from "../../support/golden";

const FIXTURES = join(__dirname, "..", "..", "fixtures");
const reference = JSON.parse(
  readFileSync(join(FIXTURES, "saved-activations", "reference.json"), "utf8"),
) as Record<string, { side: number; rows: number; kept: Record<string, number> }>;
const CONFIGS = {
  pocket: pocket("unet", "config.json"),
  xl: join(FIXTURES, "xl", "unet", "config.json"),
};
const TRAINED: Record<string, RegExp> = {
  xattn: /attn2/,
  "xattn-kv": /attn2\.to_[kv]/,
  selfattn: /attn1/,
  full: /./,
};

function operations(name: keyof typeof CONFIGS) {
  const { side, rows } = reference[name]!;
  using unet = new UNet2DConditionModel(
    JSON.parse(readFileSync(CONFIGS[name], "utf8")) as Record<string, unknown>,
  );
  return unetOperations(unet.config, side, rows);
}

describe("savedElements", () => {
  // What PyTorch's hooks see of diffusers' network; statistics of norms, which are few, are not counted here.
  it.each(
    (["pocket", "xl"] as const).flatMap((name) =>
      Object.entries(reference[name]!.kept).map(([what, kept]) => [name, what, kept] as const),
    ),
  )("is what PyTorch keeps of %s where %s is trained, to 1.5 %%", (name, what, kept) => {
    const found = savedElements(operations(name), { trains: (each) => TRAINED[what]!.test(each) });
    expect(Math.abs(found / kept - 1)).toBeLessThan(0.015);
  });

  it("is nothing where nothing needs a gradient, and what follows a prompt where that alone does", () => {
    const list = operations("pocket");
    const trains = (): boolean => false;
    expect(savedElements(list, { trains })).toBe(0);
    const prompted = (pattern: RegExp) => savedElements(list, { trains, prompts: (name) => pattern.test(name) });
    const bare = savedElements(list, { trains: (name) => /attn2\.to_k$/.test(name) });
    expect(prompted(/attn2\.to_k$/)).toBe(bare);
    expect(prompted(/^mid_block.*attn2\.to_k$/)).toBeLessThan(prompted(/attn2\.to_k$/));
  });
});

describe("passElements", () => {
  it("has the skip connections of the down path, and the largest kernel", () => {
    const list = operations("pocket");
    // conv_in 48 × 16², down 48 × 16² and 48 × 8², 96 × 8² and 96 × 4², 128 × 4².
    const skips = 48 * 256 * 2 + 48 * 64 + 96 * 64 + 96 * 16 + 128 * 16;
    const widest = Math.max(...list.map(({ inputs, outputs }) => inputs + outputs));
    expect(passElements(list).item).toBe(skips + 2 * widest);
    // The first way up takes the middle's 128 channels and as many of the skip.
    expect(passElements(list).weights).toBe(256 * 128 * 9);
  });
});
