import { basename, relative } from "node:path";
import type { FileSummary, Inspection, KeyInspection, ModelInspection, TensorSummary } from "../index";
import { isJsonObject } from "../internal";
import { bytes, count, duration, plural, quoted } from "./format";

const TENSORS_SHOWN = 8;

/** The config fields that tell networks apart, under diffusers' names. */
const TELLING = {
  unet: [
    "sample_size",
    "block_out_channels",
    "layers_per_block",
    "cross_attention_dim",
    "attention_head_dim",
  ],
  vae: ["block_out_channels", "layers_per_block", "latent_channels", "scaling_factor"],
  textEncoder: [
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "max_position_embeddings",
    "hidden_act",
  ],
  scheduler: ["beta_schedule", "beta_start", "beta_end", "num_train_timesteps", "prediction_type"],
} as const;

/** An inspection for people. @param path as it was typed */
export function describeInspection(path: string, found: Inspection): string {
  // A line end in a file's text would pass for a line of ours.
  return lines(path, found)
    .map((line) => line.replaceAll("\n", "\\n"))
    .join("\n");
}

function lines(path: string, found: Inspection): string[] {
  switch (found.kind) {
    case "model":
      return model(path, found);
    case "run-folder":
      return [
        `${path}: result or state of an erasure`,
        ...(found.run === undefined ? [] : run(found.run)),
        ...found.contents.flatMap((item) => ["", ...lines(relative("", item.path), item)]),
      ];
    case "delta":
      return [
        `${path}: delta, what an erasure changed of its base checkpoint, ${size(found.files)}`,
        `  tensors       ${tensors(found)}`,
        ...Object.entries(found.changed)
          .filter(([, number]) => number > 0)
          .map(([name, number]) => `  changed       ${plural(number, "tensor")} of the ${folder(name)}`),
        ...Object.entries(found.base).map(([name, hash]) => `  base          ${folder(name)} ${hash}`),
        ...run(found.run),
        `  goes onto     its base: apply MODEL --delta ${path} --out PATH`,
        ...hashes(found),
      ];
    case "lora":
      return [
        `${path}: LoRA, ${size(found.files)}`,
        `  tensors       ${tensors(found)}`,
        ...Object.entries(found.layers).map(
          ([name, number]) => `  changes       ${plural(number, "layer")} of the ${folder(name)}`,
        ),
        `  rank          ${[...new Set(found.ranks)].map(count).join(" to ")}`,
        ...(found.kept === undefined
          ? []
          : [`  holds         ${percent(found.kept)} of the layers' squared change`]),
        ...(found.leftOut === undefined || found.leftOut.length === 0
          ? []
          : [`  leaves out    ${plural(found.leftOut.length, "changed tensor")}, biases or scales of norms`]),
        ...(found.run === undefined ? [] : run(found.run)),
        `  goes onto     a model of its shapes: apply MODEL --lora ${path} --out PATH`,
        ...hashes(found),
      ];
    case "key":
      return [
        `${path}: prompt key, ${found.encrypted ? "encrypted" : "not encrypted"}`,
        ...(found.concepts === undefined
          ? ["  its concepts and prompt show only with the passphrase"]
          : [
              `  brings back   ${quoted(found.concepts)}`,
              `  prompt        (${found.shape?.join(", ")}), ${promptOf(found)}`,
              ...(found.model === undefined ? [] : [`  made for      the UNet ${found.model}`]),
            ]),
        ...hashes(found),
      ];
    case "run-state":
      return [
        `${path}: saved state of a run, ${size(found.files)}`,
        `  at iteration  ${count(found.iteration)}${found.iterations === undefined ? "" : ` of ${count(found.iterations)}`}, after ${duration(found.seconds)}`,
        ...(found.losses === undefined
          ? []
          : [
              `  losses        ${Object.entries(found.losses)
                .map(([name, value]) => `${name} ${value.toPrecision(3)}`)
                .join(", ")}`,
            ]),
        "  go on with    the same erase command and --resume",
        ...hashes(found),
      ];
    case "run-manifest":
      return [`${path}: manifest of an erasure`, ...run(found.run)];
    case "safetensors":
      return [
        `${path}: safetensors file, ${size(found.files)}`,
        `  tensors       ${tensors(found)}`,
        ...Object.entries(found.entries)
          .slice(0, TENSORS_SHOWN)
          .map(([name, { dtype, shape }]) => `    ${name}  ${dtype} (${shape.join(", ")})`),
        ...(found.tensors > TENSORS_SHOWN
          ? [`    and ${count(found.tensors - TENSORS_SHOWN)} more (--json lists all)`]
          : []),
        ...Object.entries(found.metadata).map(([name, text]) => `  metadata      ${name}: ${shorten(text)}`),
        ...hashes(found),
        `  no model      ${found.note}`,
      ];
  }
}

/** Which Stable Diffusion a checkpoint is of. */
function familyOf({ textEncoder, textEncoder2 }: ModelInspection["components"]): string {
  if (textEncoder2 !== undefined) return "XL";
  return textEncoder.config["hidden_act"] === "gelu" ? "2" : "1";
}

function model(path: string, found: ModelInspection): string[] {
  const { unet, vae, textEncoder, textEncoder2 } = found.components;
  const part = (name: keyof typeof TELLING, label: string, config: Readonly<Record<string, unknown>>) =>
    `  ${label.padEnd(13)} ${telling(config, TELLING[name])}`;
  return [
    `${path}: Stable Diffusion ${familyOf(found.components)} checkpoint, ${found.format === "diffusers" ? "diffusers folder" : "single file"}, ${size(found.files)}`,
    `  unet          ${tensors(unet)}`,
    part("unet", "", unet.config),
    `  vae           ${tensors(vae)}`,
    part("vae", "", vae.config),
    `  text_encoder  ${tensors(textEncoder)}`,
    part("textEncoder", "", textEncoder.config),
    ...(textEncoder2 === undefined
      ? []
      : [`  text_encoder_2 ${tensors(textEncoder2)}`, part("textEncoder", "", textEncoder2.config)]),
    `  scheduler     ${(found.scheduler["_class_name"] as string | undefined) ?? "not named"}`,
    part("scheduler", "", found.scheduler),
    ...(found.interventions ?? []).map(
      ({ name, settings, tensors: held = 0, elements = 0, dtypes = {} }) =>
        `  denoises with ${name} (${shorten(telling(settings, Object.keys(settings)))})${held === 0 ? "" : `, ${tensors({ tensors: held, elements, dtypes })}`}`,
    ),
    ...(found.run === undefined ? [] : run(found.run)),
    ...hashes(found),
  ];
}

/** What a manifest says in short; fields that are not there are left out. */
function run(manifest: Readonly<Record<string, unknown>>): string[] {
  const { method, concepts, before, preserve, neighbours, iterations, seconds, seed } = manifest;
  const { versions, device, dtype, finishedAt } = manifest;
  const texts = (value: unknown) => quoted(Array.isArray(value) ? value.map(String) : []);
  const word = (value: unknown, prefix = "") =>
    typeof value === "string" || typeof value === "number" ? `${prefix}${value}` : "";
  const joined = (separator: string, ...parts: string[]) =>
    parts.filter((part) => part !== "").join(separator);
  const library = (versions as Record<string, unknown> | null | undefined)?.["kpop-native"];
  const erased = (by: Readonly<Record<string, unknown>>): string =>
    joined(" ", texts(by["concepts"]), word(by["method"], "with "));
  const facts = [
    [
      "erased before",
      joined("; ", ...(Array.isArray(before) ? (before as unknown[]) : []).filter(isJsonObject).map(erased)),
    ],
    ["erased", erased({ concepts, method })],
    ["preserved", texts(preserve)],
    ["neighbours", shorten(texts(neighbours))],
    [
      "run",
      joined(
        ", ",
        typeof iterations === "number" ? plural(iterations, "iteration") : "",
        typeof seconds === "number" ? duration(seconds) : "",
        word(seed, "seed "),
        word(device),
        word(dtype),
      ),
    ],
    ["made", joined(" ", word(finishedAt), word(library, "by kpop-native "))],
  ] as const;
  return facts.filter(([, text]) => text !== "").map(([name, text]) => `  ${name.padEnd(13)} ${text}`);
}

function promptOf({ form, place, hidden, mechanism, layers }: KeyInspection): string {
  if (place === "token") return "learned words behind the text";
  const how = form === "amortised" ? `amortised over ${plural(hidden!, "hidden unit")}, ` : "";
  return `${how}${mechanism}, layers ${String(layers)}`;
}

function telling(config: Readonly<Record<string, unknown>>, fields: readonly string[]): string {
  return fields
    .filter((field) => config[field] !== undefined && config[field] !== null)
    .map((field) => `${field} ${JSON.stringify(config[field]).replaceAll('"', "")}`)
    .join(", ");
}

function tensors({ elements, tensors: number, dtypes }: TensorSummary): string {
  const stored = Object.entries(dtypes).map(([dtype, part]) =>
    part === elements ? dtype : `${dtype} (${count(part)})`,
  );
  return `${plural(elements, "parameter")} in ${plural(number, "tensor")}, ${stored.join(" and ")}`;
}

function size(files: readonly FileSummary[]): string {
  return bytes(files.reduce((sum, file) => sum + file.bytes, 0));
}

function hashes({ path: root, files }: { path: string; files: readonly FileSummary[] }): string[] {
  return files.flatMap(({ path, sha256 }) =>
    sha256 === undefined ? [] : [`  sha256        ${sha256}  ${relative(root, path) || basename(path)}`],
  );
}

function folder(component: string): string {
  return component.replace("textEncoder", "text_encoder").replace(/\d$/, "_$&");
}

function percent(share: number): string {
  return `${(100 * share).toFixed(1)} %`;
}

function shorten(text: string): string {
  return text.length > 80 ? `${text.slice(0, 77)}...` : text;
}
