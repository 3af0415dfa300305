import { createCipheriv, createDecipheriv, randomBytes, scrypt } from "node:crypto";
import { promisify } from "node:util";
import { filePath, flag, invalid, knownKeys, nonEmptyString, oneOf } from "../check";
import { KpopError } from "../errors";
import { KEY_FORMAT } from "../io/file-kinds";
import { localPath } from "../io/local-path";
import * as safetensors from "../io/safetensors";
import type { PromptLayers, PromptMechanism } from "../models/unet";
import { unscoped } from "../runtime/scope";
import { Tensor } from "../runtime/tensor";
import type { Condition } from "./condition";
import type { LearnedToken } from "./learned-tokens";
import type { Model } from "./model";
import { applyPrompt, PROMPT_FORMS, PROMPT_PLACES, type PromptForm, type Prompted, type PromptPlace } from "./prompt-form"; // prettier-ignore

const VERSION = "1";
/** scrypt's cost (RFC 7914): 128 MiB and about half a second a guess. */
const COST = { N: 2 ** 17, r: 8, p: 1, maxmem: 256 * 2 ** 20 };

const FIELDS = ["prompt", "form", "place", "mechanism", "layers", "concepts", "model"];

/** What a key is made of. */
export interface PromptKeyFields {
  prompt: Tensor;
  /** Default "free". */
  form?: PromptForm;
  /** Default "cross-attention". Mechanism and layers mean nothing to learned words, the place "token". */
  place?: PromptPlace;
  mechanism: PromptMechanism;
  layers: PromptLayers;
  concepts: string[];
  /** What it was made for: a fingerprint of the erased UNet, 64 hexadecimal digits. Absent: it is not known. */
  model?: string;
}

/**
 * The learned prompt of a KPOP erasure: with it the erased model still makes the concept (arXiv 2403.12326).
 *
 * `prompt` is (k, d) for the concatenative mechanism and (L, d) for the additive one; with a prompt of its own for
 * each concept it is (n, k, d), in the order of `concepts`, and `select` gives the key of one. Of an amortised one it is
 * (2h, d): A above B in p(c) = relu(c Aᵀ) B, which gives every text a prompt of its own. With the place "token" its rows
 * are k learned words, of the text encoder's width, that stand behind a text.
 */
export class PromptKey {
  /** What it is called among the artefacts of a run. */
  readonly name = "key";
  /** It is to be kept apart from the model. */
  readonly secret = true;
  readonly prompt: Tensor;
  readonly form: PromptForm;
  readonly place: PromptPlace;
  readonly mechanism: PromptMechanism;
  readonly layers: PromptLayers;
  readonly concepts: string[];
  /** A fingerprint of the UNet that it was made for, whatever format and dtype that is in; other models get a warning. */
  readonly model?: string;

  /** @throws INVALID_ARGUMENT */
  constructor(fields: PromptKeyFields) {
    knownKeys("the fields of a key", fields, FIELDS);
    if (!(fields.prompt instanceof Tensor)) throw invalid("prompt", "a Tensor", fields.prompt);
    this.prompt = fields.prompt;
    this.form = oneOf("form", fields.form ?? "free", PROMPT_FORMS);
    this.place = oneOf("place", fields.place ?? "cross-attention", PROMPT_PLACES);
    this.mechanism = oneOf("mechanism", fields.mechanism, ["concat", "additive"] as const);
    this.layers = Array.isArray(fields.layers)
      ? names("layers", fields.layers)
      : oneOf("layers", fields.layers, ["mid", "mid-up", "all"] as const);
    this.concepts = names("concepts", fields.concepts);
    if (fields.model !== undefined) {
      if (typeof fields.model !== "string" || !/^[0-9a-f]{64}$/.test(fields.model))
        throw invalid("model", "64 hexadecimal digits", fields.model);
      this.model = fields.model;
    }
    if (this.form === "amortised" && this.place === "token")
      throw invalid("form", '"free" where place is "token"', this.form);
    const dims = this.prompt.shape.length;
    const [rows = 0] = this.prompt.shape;
    if (this.form === "amortised" && (dims !== 2 || rows === 0 || rows % 2 !== 0))
      throw invalid("prompt", "of shape (2h, d), as an amortised one is,", this.prompt.shape);
    if (dims !== 2 && !(dims === 3 && this.prompt.shape[0] === this.concepts.length)) {
      throw invalid("prompt", `of shape (k, d), or (${this.concepts.length}, k, d)`, this.prompt.shape);
    }
  }

  /** Whether each concept has a prompt of its own. */
  get perConcept(): boolean {
    return this.prompt.shape.length === 3;
  }

  /** The key of one concept; this key itself when one prompt serves all. @throws INVALID_ARGUMENT */
  select(concept: string): PromptKey {
    const index = this.concepts.indexOf(concept);
    if (index < 0)
      throw invalid("concept", `one of ${this.concepts.map((c) => `"${c}"`).join(", ")}`, concept);
    if (!this.perConcept) return this;
    const [, k, d] = this.prompt.shape as [number, number, number];
    const prompt = this.prompt.slice(0, index, index + 1).reshape([k, d]);
    return new PromptKey({ ...fieldsOf(this), prompt, concepts: [concept] });
  }

  /**
   * Conditions under the key, whatever its prompt is; with a prompt for each concept every picture gets that of the
   * concept that its text names.
   * @param texts of the pictures, one for each item of every condition; all see the key, or none does
   * @param tokens learned tokens that the conditions' texts may name
   * @throws INVALID_ARGUMENT where the prompt does not fit the model
   * @internal
   */
  async apply<const C extends readonly Condition[]>(
    model: Pick<Model, "condition" | "device">,
    texts: readonly string[],
    conditions: C,
    tokens: readonly LearnedToken[] = [],
  ): Promise<Prompted<C>> {
    const chosen = this.perConcept ? texts.flatMap((text) => conceptNamed(this, text) ?? []) : null;
    if (chosen?.length === 0) return { conditions };
    const own = chosen && Tensor.stack(chosen.map((concept) => this.select(concept).prompt));
    const prompt = (own ?? this.prompt).to({ device: model.device });
    return applyPrompt(model, prompt, this, conditions, tokens);
  }

  /**
   * Reads a key file.
   * @param given also its name on a hub
   * @param options.anyModel leaves out what model it was made for: another one gets no warning. Default false
   * @throws INVALID_KEY when the file is no key, or the passphrase is missing or wrong; NOT_FOUND, INVALID_SAFETENSORS
   */
  static async load(
    given: string,
    options: { passphrase?: string; anyModel?: boolean; signal?: AbortSignal } = {},
  ): Promise<PromptKey> {
    filePath("path", given);
    knownKeys("the options of a key", options, ["passphrase", "anyModel", "signal"]);
    flag("anyModel", options.anyModel ?? false);
    if (options.passphrase !== undefined) nonEmptyString("passphrase", options.passphrase);
    const path = await localPath(given, { signal: options.signal });
    const file = await safetensors.open(path);
    try {
      const key = await readKey(file, options.passphrase);
      if (options.anyModel !== true) return key;
      const fields = fieldsOf(key);
      delete fields.model;
      return new PromptKey(fields);
    } finally {
      await file.close();
    }
  }

  /**
   * Writes the key, as float32 safetensors. An older file is replaced, but for a key of other concepts.
   * @param options.passphrase when given, prompt and concepts are encrypted: scrypt, then AES-256-GCM
   * @throws OUTPUT_NOT_EMPTY for such a key, and for one that does not open with this passphrase; INVALID_ARGUMENT, NO_SPACE,
   *   NOT_FOUND, IO_ERROR
   */
  async save(path: string, options: { passphrase?: string } = {}): Promise<void> {
    filePath("path", path);
    knownKeys("the options of a key", options, ["passphrase"]);
    if (options.passphrase !== undefined) nonEmptyString("passphrase", options.passphrase);
    await refuseOtherKey(path, this.concepts, options.passphrase);
    const float = this.prompt.detach().to("float32");
    const header = JSON.stringify({ ...fieldsOf(this), prompt: undefined, shape: float.shape });
    const metadata = { format: KEY_FORMAT, version: VERSION };
    if (options.passphrase === undefined) {
      await safetensors.save(path, { prompt: float }, { ...metadata, key: header });
      return;
    }
    const length = Buffer.alloc(4);
    length.writeUInt32LE(Buffer.byteLength(header));
    const plain = Buffer.concat([length, Buffer.from(header), await float.bytes()]);
    const salt = randomBytes(16);
    const nonce = randomBytes(12);
    const cipher = createCipheriv("aes-256-gcm", await stretch(options.passphrase, salt), nonce);
    const sealed = Buffer.concat([cipher.update(plain), cipher.final(), cipher.getAuthTag()]);
    await safetensors.save(
      path,
      { sealed: Tensor.from(new Uint8Array(sealed), [sealed.length]) },
      {
        ...metadata,
        encryption: "scrypt+aes-256-gcm",
        salt: salt.toString("hex"),
        nonce: nonce.toString("hex"),
      },
    );
  }

  dispose(): void {
    this.prompt.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

function fieldsOf({ prompt, form, place, mechanism, layers, concepts, model }: PromptKey): PromptKeyFields {
  return { prompt, form, place, mechanism, layers, concepts, ...(model === undefined ? {} : { model }) };
}

/** The concept that a text names, the longest name first; undefined where it names none of the key's. */
export function conceptNamed({ concepts }: PromptKey, text: string): string | undefined {
  const words = text.toLowerCase();
  return concepts
    .filter((concept) => words.includes(concept.toLowerCase()))
    .reduce<string | undefined>((a, b) => (a === undefined || b.length > a.length ? b : a), undefined);
}

/** Whether a picture of a text sees a key: one prompt serves every text, one for each concept those that name it. */
export function seesKey(key: PromptKey, text: string): boolean {
  return !key.perConcept || conceptNamed(key, text) !== undefined;
}

/**
 * Refuses to replace the key of other concepts: nothing else brings those back.
 * @param passphrase opens an old key that is encrypted
 * @throws OUTPUT_NOT_EMPTY
 */
export async function refuseOtherKey(
  path: string,
  concepts: readonly string[],
  passphrase: string | undefined,
): Promise<void> {
  const file = await safetensors.open(path).catch(() => null);
  if (file?.metadata["format"] !== KEY_FORMAT) return await file?.close();
  const old = await readKey(file, passphrase)
    .catch(() => null)
    .finally(() => file.close());
  old?.dispose();
  if (old !== null && [...old.concepts].sort().join("\n") === [...concepts].sort().join("\n")) return;
  const what =
    old === null
      ? `a key that does not open ${passphrase === undefined ? "without a passphrase" : "with this passphrase"}, or is damaged`
      : `the key of ${old.concepts.map((concept) => `"${concept}"`).join(", ")}`;
  throw new KpopError(
    "OUTPUT_NOT_EMPTY",
    `${path} is ${what}, and nothing else brings back what it holds; move it away, or choose another file`,
  );
}

async function readKey(
  file: safetensors.SafetensorsFile,
  passphrase: string | undefined,
): Promise<PromptKey> {
  const { metadata, path } = file;
  if (metadata["format"] !== KEY_FORMAT) {
    throw new KpopError("INVALID_KEY", `${path} is no prompt key; erase() with method "kpop" makes one`);
  }
  if (metadata["version"] !== VERSION) {
    throw new KpopError(
      "INVALID_KEY",
      `${path} is a prompt key of version ${metadata["version"]}; this library reads version ${VERSION}`,
    );
  }
  if (!file.names.includes(metadata["encryption"] === undefined ? "prompt" : "sealed")) throw damaged(path);
  if (metadata["encryption"] === undefined) {
    const prompt = await unscoped(() => file.read("prompt"));
    return fromHeader(path, metadata["key"], prompt);
  }
  if (passphrase === undefined)
    throw new KpopError("INVALID_KEY", `${path} is encrypted; give its passphrase`);
  const opened = await decrypt(path, await file.readBytes("sealed"), metadata, passphrase);
  const headerLength = opened.readUInt32LE(0);
  const header = opened.subarray(4, 4 + headerLength).toString("utf8");
  const elements = new Float32Array(new Uint8Array(opened.subarray(4 + headerLength)).buffer);
  const { shape } = JSON.parse(header) as { shape: number[] };
  return fromHeader(
    path,
    header,
    unscoped(() => Tensor.from(elements, shape)),
  );
}

function fromHeader(path: string, header: string | undefined, prompt: Tensor): PromptKey {
  try {
    const fields = JSON.parse(header ?? "") as PromptKeyFields & { shape?: unknown };
    delete fields.shape;
    return new PromptKey({ ...fields, prompt });
  } catch (cause) {
    prompt.dispose();
    throw damaged(path, cause);
  }
}

function damaged(path: string, cause?: unknown): KpopError {
  return new KpopError("INVALID_KEY", `${path} is a damaged prompt key`, { cause });
}

function names(name: string, value: unknown): string[] {
  if (!Array.isArray(value) || value.length === 0) throw invalid(name, "a non-empty list of strings", value);
  return value.map((item) => nonEmptyString(name, item));
}

async function decrypt(
  path: string,
  sealed: Uint8Array,
  metadata: Readonly<Record<string, string>>,
  passphrase: string,
): Promise<Buffer> {
  const salt = Buffer.from(metadata["salt"] ?? "", "hex");
  const nonce = Buffer.from(metadata["nonce"] ?? "", "hex");
  if (
    metadata["encryption"] !== "scrypt+aes-256-gcm" ||
    salt.length !== 16 ||
    nonce.length !== 12 ||
    sealed.length < 20
  ) {
    throw damaged(path);
  }
  const decipher = createDecipheriv("aes-256-gcm", await stretch(passphrase, salt), nonce);
  decipher.setAuthTag(sealed.subarray(-16));
  try {
    return Buffer.concat([decipher.update(sealed.subarray(0, -16)), decipher.final()]);
  } catch (cause) {
    throw new KpopError("INVALID_KEY", `${path} does not open with this passphrase, or was changed`, {
      cause,
    });
  }
}

function stretch(passphrase: string, salt: Buffer): Promise<Buffer> {
  const derive = promisify<string, Buffer, number, typeof COST, Buffer>(scrypt);
  return derive(passphrase.normalize("NFKC"), salt, 32, COST);
}
