import { readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { erase, evaluate, StableDiffusion } from "../../../lib/index";
import { modelPath } from "../../../lib/io/model-path";

/** Drawn in few steps: enough to tell what is there. */
const DRAWING = { steps: 10, guidanceScale: 3, seed: 0 };

describe("pocket-xl", () => {
  let folder: string;
  let model: StableDiffusion;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "kpop-pocket-xl-"));
    model = await StableDiffusion.load("pocket-xl");
  });
  afterAll(async () => {
    model.dispose();
    await rm(folder, { recursive: true, force: true });
  });

  it("is of XL's architecture, and has pocket's autoencoder", () => {
    expect(model.textEncoder2).not.toBeNull();
    const file = join("vae", "diffusion_pytorch_model.safetensors");
    const [own, others] = ["pocket-xl", "pocket"].map((name) => readFileSync(join(modelPath(name), file)));
    expect(own!.equals(others!)).toBe(true);
  });

  it("draws what it is asked for, until a closed form erases that, by the classifier that comes along", async () => {
    const measured = { ...DRAWING, erased: ["church"], imagesPerClass: 4, cacheDirectory: folder };
    const before = await evaluate(model, measured);
    expect(before.esr[1]!.value).toBeLessThanOrEqual(0.25);
    using erasure = await erase(model, {
      method: "uce",
      concepts: "church",
      neighbours: "off",
      templates: ["{}", "a photo of a {}"],
      guide: "dog",
    });
    const after = await evaluate(erasure.model, measured);
    expect(after.esr[1]!.value).toBeGreaterThanOrEqual(0.75);
  }, 60_000);
});
