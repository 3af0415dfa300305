import { existsSync } from "node:fs";
import { mkdtemp, readdir, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { erase, StableDiffusion } from "../../../lib/index";
import { writeFullSize } from "../../gpu/full-size";
import { peakBytes } from "../../machine";
import type { Measurement, SpeedCase } from "../case";

/** Random weights of Stable Diffusion XL's architecture in float16, 7 GB. */
const FOLDER = join(tmpdir(), "kpop-bench-full-size-xl");
const TITLE = "Stable Diffusion XL's size, random weights, float16";

/** Loading alone, and every weight touched once. */
export function xlLoadCase(): SpeedCase {
  return { name: "xl-load", title: `${TITLE}: load`, ...ON_CHECKPOINT, run: measureLoad };
}

/**
 * One concept erased by UCE with its neighbours, from the files to the files.
 * @param alignment "tail", the default, reads all rows of a text from its last token on; "last-token" that one
 */
export function xlUceCase(alignment: "tail" | "last-token"): SpeedCase {
  const name = alignment === "tail" ? "xl-uce" : `xl-uce-${alignment}`;
  const title = `${TITLE}: UCE with neighbours, alignment ${alignment}`;
  return { name, title, ...ON_CHECKPOINT, run: () => measureUce(alignment) };
}

const ON_CHECKPOINT = { prepare: writeCheckpoint, tidy: removeCheckpoint };

async function writeCheckpoint(): Promise<void> {
  if (!existsSync(join(FOLDER, "model_index.json"))) await writeFullSize(FOLDER, "xl");
}

async function removeCheckpoint(): Promise<void> {
  await rm(FOLDER, { recursive: true, force: true });
}

function load(): Promise<StableDiffusion> {
  return StableDiffusion.load(FOLDER, { device: "cpu", dtype: "float16" });
}

async function measureLoad(): Promise<Measurement> {
  const clock = stopwatch();
  const model = await load();
  const loaded = clock();
  const resident = peakBytes();
  const networks = [model.unet, model.vae, model.textEncoder, model.textEncoder2!];
  for (const network of networks)
    for (const name of network.parameterNames()) {
      const sum = network.parameter(name).sum();
      if (!Number.isFinite(await sum.item())) throw new Error(`${name} is not finite`);
      sum.dispose();
    }
  return {
    seconds: { load: loaded, "touch every weight": clock() },
    figures: {
      "weights (GB)": (await weightBytes(FOLDER)) / 1e9,
      "peak once loaded / files": resident / (await weightBytes(FOLDER)),
      "peak once touched / files": peakBytes() / (await weightBytes(FOLDER)),
    },
    peakBytes: peakBytes(),
  };
}

async function measureUce(alignment: "tail" | "last-token"): Promise<Measurement> {
  const scratch = await mkdtemp(join(tmpdir(), "kpop-bench-xl-"));
  try {
    const clock = stopwatch();
    const seconds: Record<string, number> = {};
    using model = await load();
    seconds["load"] = clock();
    // Words that an earlier run chose are not to be found; libtorch is by now.
    process.env["XDG_CACHE_HOME"] = join(scratch, "cache");
    let [words, weights] = [0, 0];
    using erasure = await erase(model, {
      method: "uce",
      concepts: "church",
      alignment,
      onPrepare({ done, total }) {
        if (done === total) words += clock();
      },
      onStep({ iteration }) {
        if (iteration === 1) weights = clock();
      },
    });
    seconds["hashes and neighbours"] = words;
    seconds["texts, until the first weight"] = weights;
    seconds["other weights"] = clock();
    const erased = Object.values(seconds).reduce((sum, part) => sum + part, 0);
    const peak = peakBytes();
    await erasure.save(join(scratch, "delta"), { format: "delta" });
    seconds["save a delta"] = clock();
    await erasure.save(join(scratch, "folder"));
    seconds["save a folder"] = clock();
    const bytes = await weightBytes(FOLDER);
    const { neighbours, changedParameters } = erasure.manifest;
    return {
      seconds,
      figures: {
        "load to the last weight (s)": erased,
        neighbours: neighbours.length,
        "weights edited": changedParameters,
        "peak until the last weight / files": peak / bytes,
        "peak / files": peakBytes() / bytes,
      },
      peakBytes: peakBytes(),
    };
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

/** Seconds since it was asked before. */
function stopwatch(): () => number {
  let last = performance.now();
  return () => {
    const before = last;
    last = performance.now();
    return (last - before) / 1000;
  };
}

async function weightBytes(folder: string): Promise<number> {
  const files = await readdir(folder, { recursive: true });
  const sizes = files
    .filter((name) => name.endsWith(".safetensors"))
    .map(async (name) => (await stat(join(folder, name))).size);
  return (await Promise.all(sizes)).reduce((sum, size) => sum + size, 0);
}
