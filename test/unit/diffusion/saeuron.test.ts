import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { guidedPrediction } from "../../../lib/diffusion/guidance";
import { modelIdentity } from "../../../lib/diffusion/identity";
import { openInterventions } from "../../../lib/diffusion/interventions";
import { saeuronEditing, type SaeuronSettings, type SaeuronTensors } from "../../../lib/diffusion/interventions/saeuron"; // prettier-ignore
import { StableDiffusion } from "../../../lib/diffusion/stable-diffusion";
import { openCheckpoint } from "../../../lib/certificate/checkpoint-identity";
import { readCheckpoint } from "../../../lib/io/checkpoint-read";
import { convert } from "../../../lib/io/convert";
import { inspect } from "../../../lib/io/inspect";
import * as safetensors from "../../../lib/io/safetensors";
import { unitRows } from "../../../lib/nn/sparse-autoencoder";
import { Random } from "../../../lib/runtime/random";
import { Tensor } from "../../../lib/runtime/tensor";
import { relativeError } from "../../support/compare";
import { loadGolden, type GoldenModel } from "../../support/golden-model";

const SITE = "up_blocks.1.attentions.1";
const [WIDTH, LATENTS, ACTIVE] = [64, 96, 4];
const TIMESTEPS = [900, 500, 100];
const settings = (more: Partial<SaeuronSettings> = {}): SaeuronSettings => ({
  ...{ concepts: ["church"], site: SITE, active: ACTIVE, timesteps: TIMESTEPS, remainder: "kept" },
  ...more,
});
const draw = (seed: number, ...shape: number[]): Tensor => new Random(seed).normal(shape);
const numbers = async (tensor: Tensor): Promise<number[]> => Array.from(await tensor.data(), Number);

/** @param change of every latent at each timestep */
function tensors(change: Tensor, width = WIDTH): SaeuronTensors {
  const latents = change.shape[1]!;
  return {
    "encoder.weight": draw(1, latents, width).div(4),
    "encoder.bias": draw(2, latents).div(10),
    W_dec: unitRows(draw(3, latents, width)),
    b_dec: draw(4, width).div(10),
    change,
    threshold: draw(5, TIMESTEPS.length, latents).abs().div(2),
  };
}
const NOTHING = Tensor.zeros([TIMESTEPS.length, LATENTS]);
/** Every third latent is turned round, more or less by timestep. */
const change = Tensor.from(
  TIMESTEPS.flatMap((_, s) => Array.from({ length: LATENTS }, (__, i) => (i % 3 === 0 ? -2 - s : 0))),
  [TIMESTEPS.length, LATENTS],
);

/** What becomes of one place, in float64: TopK by sorting. */
function reference(
  x: readonly number[],
  t: Record<keyof SaeuronTensors, number[]>,
  step: number,
  inverted: boolean,
): number[] {
  const row = (name: keyof SaeuronTensors, i: number, length: number): number[] =>
    t[name].slice(i * length, (i + 1) * length);
  const dot = (a: readonly number[], b: readonly number[]): number =>
    a.reduce((sum, v, i) => sum + v * b[i]!, 0);
  const centred = x.map((v, c) => v - t.b_dec[c]!);
  const all = Array.from({ length: LATENTS }, (_, i) =>
    Math.max(0, dot(centred, row("encoder.weight", i, WIDTH)) + t["encoder.bias"][i]!),
  );
  const least = [...all].sort((a, b) => b - a)[ACTIVE - 1]!;
  const z = all.map((v) => (v >= least ? v : 0));
  const [changes, thresholds] = [row("change", step, LATENTS), row("threshold", step, LATENTS)];
  const moved = z.map((v, i) => (v > thresholds[i]! ? v * changes[i]! : 0));
  const decoded = (values: readonly number[], c: number): number =>
    values.reduce((sum, v, i) => sum + v * t.W_dec[i * WIDTH + c]!, 0);
  return x.map((v, c) => (inverted ? 2 * (decoded(z, c) + t.b_dec[c]!) - v : v) + decoded(moved, c));
}

/** An edit looks at outputs alone. */
const unet = null as never;

describe("SAeUron's editing of an output", () => {
  const output = draw(9, 4, WIDTH, 3, 2);
  const timesteps = [880, 701, 699, 3]; // nearest to 900, 900, 500 and 100
  const edit = async (own: SaeuronTensors, more: Partial<SaeuronSettings> = {}): Promise<Tensor> => {
    const taps = await saeuronEditing(settings(more), own).taps!({
      unet,
      latents: output,
      timesteps,
      context: output,
    });
    return (await taps[SITE]!(output)) as Tensor;
  };

  it("is none, to the bit, where no feature is chosen", async () => {
    expect(await numbers(await edit(tensors(NOTHING)))).toEqual(await numbers(output));
  });

  it.each(["kept", "inverted"] as const)(
    "is Σ (z' − z) w at each place by each item's timestep, the remainder %s, within 1e-5 of a loop in float64",
    async (remainder) => {
      const own = tensors(change);
      const t = Object.fromEntries(
        await Promise.all(Object.entries(own).map(async ([name, tensor]) => [name, await numbers(tensor)])),
      ) as Record<keyof SaeuronTensors, number[]>;
      const places = await numbers(output.permute([0, 2, 3, 1]));
      const expected: number[] = [];
      for (let place = 0; place < 4 * 6; place++) {
        const x = places.slice(place * WIDTH, (place + 1) * WIDTH);
        expected.push(...reference(x, t, [0, 0, 1, 2][Math.floor(place / 6)]!, remainder === "inverted"));
      }
      const actual = (await edit(own, { remainder })).permute([0, 2, 3, 1]);
      expect(await relativeError(actual, Tensor.from(expected, actual.shape))).toBeLessThan(1e-5);
      // The edit does something, and without chosen features "inverted" is no identity.
      expect(await relativeError(actual, output.permute([0, 2, 3, 1]))).toBeGreaterThan(1e-2);
    },
  );

  it("is in the output's dtype and has a gradient", async () => {
    const half = saeuronEditing(settings(), tensors(change)).taps!({
      unet,
      latents: output,
      timesteps,
      context: output,
    });
    expect(((await (await half)[SITE]!(output.to("bfloat16"))) as Tensor).dtype).toBe("bfloat16");
    const leaf = await output.clone().requireGrad();
    const taps = await saeuronEditing(settings(), tensors(change)).taps!({
      unet,
      latents: leaf,
      timesteps,
      context: leaf,
    });
    await ((await taps[SITE]!(leaf)) as Tensor).square().sum().backward([leaf]);
    const plain = output.mul(2);
    expect(await relativeError(leaf.grad!, plain)).toBeGreaterThan(1e-2);
  });
});

describe("a model that denoises with SAeUron", () => {
  let golden: GoldenModel;
  let edited: StableDiffusion;
  let folder: string;
  let saved: string;
  const drawing = { steps: 3, seed: 4, guidanceScale: 5, sampler: "ddim" } as const;

  beforeAll(async () => {
    golden = await loadGolden("small", { latents: 8 });
    folder = await mkdtemp(join(tmpdir(), "kpop-saeuron-"));
    saved = join(folder, "model");
    edited = golden.model.withInterventions([saeuronEditing(settings(), tensors(change))]);
    await edited.save(saved);
  });
  afterAll(async () => {
    await golden.dispose();
    await rm(folder, { recursive: true, force: true });
  });

  it("edits both halves of guidance, and predictions that attacks see, for no evaluation more", async () => {
    const { model } = golden;
    const seen: number[][] = [];
    const watching = model.withInterventions([
      ...edited.interventions,
      { name: "watch", version: 1, settings: {}, prompts: [], taps: ({ timesteps }) => ({ [SITE]: (output) => void seen.push([...timesteps], output.shape) }) },
    ]); // prettier-ignore
    const batch = { latents: draw(1, 2, 4, 8, 8), timesteps: [700, 20] };
    const [text, negative] = [await model.condition(["church", "a photo"]), await model.condition(["", ""])];
    const guided = await guidedPrediction(watching, batch, { text, negative, guidanceScale: 5 });
    expect(seen).toEqual([
      [700, 20, 700, 20],
      [4, WIDTH, 4, 4],
    ]);
    const [conditional, unconditional] = [
      await edited.predict(batch, text),
      await edited.predict(batch, negative),
    ];
    const combined = unconditional.add(conditional.sub(unconditional).mul(5));
    expect(await relativeError(guided, combined)).toBeLessThan(1e-4);
    expect(await relativeError(conditional, await model.predict(batch, text))).toBeGreaterThan(1e-3);
    expect(await relativeError(unconditional, await model.predict(batch, negative))).toBeGreaterThan(1e-3);
  });

  it("draws other pictures than the original, and the same once saved, loaded, saved and converted", async () => {
    const [original] = await golden.model.generate("church", drawing);
    const [picture] = await edited.generate("church", drawing);
    expect(picture!.data).not.toEqual(original!.data);
    const loaded = await StableDiffusion.load(saved, { device: "cpu" });
    await loaded.save(saved, { force: true });
    // What was derived from a model frees nothing of it.
    (await loaded.derive(new Set())).dispose();
    const [again] = await loaded.generate("church", drawing);
    loaded.dispose();
    expect(again!.data).toEqual(picture!.data);
    await convert(saved, join(folder, "converted"));
    const converted = await StableDiffusion.load(join(folder, "converted"), { device: "cpu" });
    const [last] = await converted.generate("church", { ...drawing });
    converted.dispose();
    expect(last!.data).toEqual(picture!.data);
  });

  it("is another model for the picture cache and for certificates, by its tensors too", async () => {
    const other = golden.model.withInterventions([saeuronEditing(settings(), tensors(change.mul(2)))]);
    const identities = await Promise.all([golden.model, edited, other].map((model) => modelIdentity(model)));
    expect(new Set(identities.map((identity) => JSON.stringify(identity))).size).toBe(3);
    expect(await modelIdentity(edited)).toEqual(identities[1]);
    await other.save(join(folder, "other"));
    const opened = [];
    for (const path of [saved, join(folder, "other")])
      opened.push((await openCheckpoint(path)).identity.settings["interventions"]);
    expect(opened[0]).not.toBe(opened[1]);
  });

  it("is told by inspect, with its file, and refused by formats without a place for it", async () => {
    const found = await inspect(saved);
    const record = { name: "saeuron", version: 1, settings: settings(), tensors: 6, dtypes: { F32: 2 * LATENTS * WIDTH + LATENTS + WIDTH + 6 * LATENTS } }; // prettier-ignore
    expect(found).toMatchObject({ kind: "model", interventions: [record] });
    expect((found as { files: { path: string }[] }).files.map(({ path }) => path)).toContain(join(saved, "kpop-interventions.safetensors")); // prettier-ignore
    const refused = { code: "UNSUPPORTED_FORMAT", message: expect.stringContaining("denoises with saeuron") as string }; // prettier-ignore
    for (const format of ["single-file", "delta", "lora"] as const)
      await expect(edited.save(join(folder, `${format}.safetensors`), { format })).rejects.toMatchObject(refused); // prettier-ignore
    await expect(
      convert(saved, join(folder, "a.safetensors"), { format: "single-file" }),
    ).rejects.toMatchObject(refused);
  });

  it("is refused where its settings and tensors do not fit each other or the UNet", async () => {
    const list = join(saved, "kpop-interventions.json");
    const file = join(saved, "kpop-interventions.safetensors");
    const [text, bytes] = [await readFile(list, "utf8"), await readFile(file)];
    const named = (own: object, from = 0): Record<string, Tensor> =>
      Object.fromEntries(Object.entries(own).map(([name, tensor]) => [`${from}.${name}`, tensor as Tensor]));
    const { b_dec: left, ...lacking } = tensors(change);
    expect(left.shape).toEqual([WIDTH]);
    const cases: [Record<string, unknown>, Record<string, Tensor> | null, RegExp][] = [
      [{ site: "up_blocks.7.attentions.0" }, null, /one of the UNet's 7 transformers but received "up_blocks.7/],
      [{ site: "up_blocks.2.attentions.0" }, null, /encoder.weight to be of shape \[96, 32\] but received \[96,64\]/],
      [{ active: LATENTS + 1 }, null, /at most 96.*received 97/],
      [{ active: 0 }, null, /settings.active/],
      [{ remainder: "lost" }, null, /settings.remainder/],
      [{ timesteps: [1, 2] }, null, /change to be of shape \[2, 96\] but received \[3,96\]/],
      [{ timesteps: ["x"] }, null, /settings.timesteps/],
      [{}, named(lacking), /b_dec to be of shape \[64\] but received undefined/],
      [{}, named({ ...tensors(change), more: NOTHING }), /more to be left out/],
      [{}, named(tensors(change, 32)), /of shape \[96, 64\] but received \[96,32\]/],
      [{}, { ...named(tensors(change)), ...named({ more: NOTHING }, 1) }, /"1.more", which belongs to none of the 1 /],
    ]; // prettier-ignore
    for (const [more, own, message] of cases) {
      const whole = JSON.parse(text) as { interventions: { settings: object }[] };
      Object.assign(whole.interventions[0]!.settings, more);
      await writeFile(list, JSON.stringify(whole));
      if (own === null) await writeFile(file, bytes);
      else await safetensors.save(file, own);
      const opening = readCheckpoint(saved).then((source) => openInterventions(source, golden.model));
      await expect(opening).rejects.toMatchObject({
        code: "INVALID_CHECKPOINT",
        message: expect.stringMatching(message) as string,
      });
    }
  });
});
