/** One tensor of a file, its place counted from the start of the data. */
export interface JudgedTensor {
  name: string;
  dtype: string;
  shape: bigint[];
  start: bigint;
  end: bigint;
}

/** What a file says, or why it is none. */
export type Verdict =
  { valid: true; tensors: JudgedTensor[]; metadata: Map<string, string> } | { valid: false; why: string };

type Json = string | bigint | boolean | null | Json[] | JsonObject;
/** In the order of the text, repeated keys and all. */
class JsonObject {
  readonly pairs: [string, Json][] = [];
}
class Refusal extends Error {}

const BITS: Readonly<Record<string, bigint>> = {
  ...{ BOOL: 8n, U8: 8n, I8: 8n, F8_E5M2: 8n, F8_E4M3: 8n, I16: 16n, U16: 16n, F16: 16n, BF16: 16n },
  ...{ I32: 32n, U32: 32n, F32: 32n, F64: 64n, I64: 64n, U64: 64n },
};
const LARGEST = 2n ** 53n - 1n;
const LARGEST_HEADER = 100_000_000n;
const DEEPEST = 127;
const LATIN1 = [...Array.from({ length: 256 }, (_, byte) => String.fromCharCode(byte)), ""];
const UTF8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/**
 * Judges a safetensors file by the text of the format's specification, slowly, with a JSON parser and integers of its
 * own, so that it shares nothing with the reader that it checks.
 *
 * Stricter than the specification's words, as the reader is: sizes, offsets and byte counts (leaving zeros out of the
 * product) end at 2^53 - 1, every number of the header is a plain non-negative integer, keys are unique at every
 * level, and lists and objects stand at most 127 deep.
 *
 * @param head the file's first bytes, at least as far as the header goes   @param size of the whole file
 */
export function judge(head: Uint8Array, size: number): Verdict {
  try {
    const json = headerBytes(head, BigInt(size));
    const tree = new Parser(json).whole();
    return { valid: true, ...readTree(tree, BigInt(size) - 8n - BigInt(json.length)) };
  } catch (error) {
    if (error instanceof Refusal) return { valid: false, why: error.message };
    throw error;
  }
}

function refuse(why: string): never {
  throw new Refusal(why);
}

function headerBytes(head: Uint8Array, size: bigint): Uint8Array {
  if (size < 8n) refuse("no room for the length");
  let length = 0n;
  for (let i = 7; i >= 0; i--) length = length * 256n + BigInt(head[i]!);
  if (length > LARGEST_HEADER) refuse("header above 100 MB");
  if (length + 8n > size) refuse("header longer than the file");
  return head.subarray(8, 8 + Number(length));
}

function readTree(
  tree: JsonObject,
  dataBytes: bigint,
): { tensors: JudgedTensor[]; metadata: Map<string, string> } {
  const tensors: JudgedTensor[] = [];
  const metadata = new Map<string, string>();
  for (const [name, value] of tree.pairs) {
    if (!(value instanceof JsonObject)) refuse("an entry that is no object");
    if (name === "__metadata__") {
      for (const [key, text] of value.pairs) {
        if (typeof text !== "string") refuse("metadata that is no text");
        metadata.set(key, text);
      }
    } else tensors.push(readTensor(name, value));
  }
  tensors.sort((a, b) => Number(a.start - b.start) || Number(a.end - b.end));
  let end = 0n;
  for (const tensor of tensors) {
    if (tensor.start !== end) refuse("a gap or an overlap");
    end = tensor.end;
  }
  if (end !== dataBytes) refuse("the tensors do not end with the file");
  return { tensors, metadata };
}

function readTensor(name: string, entry: JsonObject): JudgedTensor {
  const field = (key: string): Json | undefined => entry.pairs.find(([found]) => found === key)?.[1];
  const dtype = field("dtype");
  const bits =
    typeof dtype === "string" && Object.keys(BITS).includes(dtype) ? BITS[dtype]! : refuse("dtype");
  const shape = integers(field("shape"));
  const offsets = integers(field("data_offsets"));
  if (offsets.length !== 2) refuse("not two offsets");
  let product = bits / 8n;
  for (const size of shape) {
    if (size > 0n) product *= size;
    if (product > LARGEST) refuse("overflow");
  }
  const [start, end] = offsets as [bigint, bigint];
  if (end - start !== (shape.includes(0n) ? 0n : product))
    refuse("another number of bytes than the shape takes");
  return { name, dtype: dtype as string, shape, start, end };
}

function integers(value: Json | undefined): bigint[] {
  if (!Array.isArray(value)) refuse("no list");
  return value.map((item) =>
    typeof item === "bigint" && item <= LARGEST ? item : refuse("no such integer"),
  );
}

/** RFC 8259, over bytes. */
class Parser {
  private at = 0;
  private depth = 0;

  constructor(private readonly bytes: Uint8Array) {}

  whole(): JsonObject {
    if (this.peek() !== "{") refuse("does not begin with {");
    const value = this.value();
    this.space();
    if (this.at !== this.bytes.length) refuse("something after the object");
    return value as JsonObject;
  }

  /** The byte that comes, as a character of Latin-1; "" at the end. */
  private peek(): string {
    return LATIN1[this.bytes[this.at] ?? 256]!;
  }

  private take(text: string): void {
    for (const char of text) {
      if (this.peek() !== char) refuse(`expected ${text}`);
      this.at++;
    }
  }

  private space(): void {
    while (this.peek() !== "" && " \t\n\r".includes(this.peek())) this.at++;
  }

  private value(): Json {
    this.space();
    const next = this.peek();
    if (next === "{" || next === "[") {
      if (++this.depth > DEEPEST) refuse("too deep");
      const nested = next === "{" ? this.object() : this.list();
      this.depth--;
      return nested;
    }
    if (next === '"') return this.text();
    if (next === "t") return (this.take("true"), true);
    if (next === "f") return (this.take("false"), false);
    if (next === "n") return (this.take("null"), null);
    return this.integer();
  }

  private items(close: string, item: () => void): void {
    this.at++;
    this.space();
    if (this.peek() === close) return void this.at++;
    for (;;) {
      item();
      this.space();
      if (this.peek() === close) return void this.at++;
      this.take(",");
    }
  }

  private object(): JsonObject {
    const object = new JsonObject();
    const seen = new Set<string>();
    this.items("}", () => {
      this.space();
      const key = this.peek() === '"' ? this.text() : refuse("a key that is no string");
      if (seen.has(key)) refuse("a key given twice");
      seen.add(key);
      this.space();
      this.take(":");
      object.pairs.push([key, this.value()]);
    });
    return object;
  }

  private list(): Json[] {
    const list: Json[] = [];
    this.items("]", () => list.push(this.value()));
    return list;
  }

  private integer(): bigint {
    const start = this.at;
    while (this.peek() >= "0" && this.peek() <= "9") this.at++;
    const digits = this.at - start;
    if (digits === 0 || (digits > 1 && this.bytes[start] === 0x30)) refuse("no plain integer");
    // What would go on as a fraction or an exponent is refused by whoever expects a comma next.
    return digits > 20 ? 10n ** 20n : BigInt(String.fromCharCode(...this.bytes.subarray(start, this.at)));
  }

  private text(): string {
    const pieces: string[] = [];
    let from = ++this.at;
    const plain = (): void => {
      try {
        pieces.push(UTF8.decode(this.bytes.subarray(from, this.at)));
      } catch {
        refuse("no UTF-8");
      }
    };
    for (;;) {
      const next = this.peek();
      if (next === "") refuse("a string without end");
      if (next < " ") refuse("a control character");
      if (next === '"' || next === "\\") plain();
      this.at++;
      if (next === '"') break;
      if (next === "\\") {
        pieces.push(this.escape());
        from = this.at;
      }
    }
    const text = pieces.join("");
    if (/\p{Surrogate}/u.test(text)) refuse("half a surrogate pair");
    return text;
  }

  private escape(): string {
    const kind = this.peek();
    this.at++;
    const plain = 'bfnrt"\\/'.indexOf(kind);
    if (kind !== "" && plain >= 0) return '\b\f\n\r\t"\\/'[plain]!;
    if (kind !== "u") refuse("no such escape");
    const digits = String.fromCharCode(...this.bytes.subarray(this.at, this.at + 4));
    if (!/^[0-9a-fA-F]{4}$/.test(digits)) refuse("no four hex digits");
    this.at += 4;
    return String.fromCharCode(parseInt(digits, 16));
  }
}
