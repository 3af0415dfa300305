/** The start of a file and the size of the whole; what follows the header may be as large as it likes. */
export interface FileCase {
  head: Buffer;
  size: number;
  /** What was done to a valid file, in order. */
  steps: string[];
}

interface Entry {
  key: string;
  fields: [string, string][];
}

interface Draft {
  /** Each a JSON text. */
  entries: Entry[];
  metadata: string | null;
  dataBytes: number;
}

type Draw = ReturnType<typeof seeded>;

const BYTES = {
  BOOL: 1,
  U8: 1,
  F8_E4M3: 1,
  I16: 2,
  F16: 2,
  BF16: 2,
  I32: 4,
  F32: 4,
  U64: 8,
  F64: 8,
} as const;
const NAMES = [
  "a",
  "unet.conv_in.weight",
  "10",
  "",
  "__proto__",
  "constructor",
  "é",
  "名前",
  "😀",
  "\u2028",
  "a b",
];
const KEYS = [
  ...[
    '"__metadata__"',
    '"\\u0061"',
    '"\\ud800"',
    '"\\udc00\\ud800"',
    '"\\ud83d\\ude00"',
    '"\\u0000"',
    '"\\x"',
  ],
  ...['"toString"', "a", "1", '"a\tb"', '"\\"', `"${"n".repeat(3000)}"`, '"hasOwnProperty"', '"__proto__"'],
];
const DTYPES = [
  ...[
    '"f32"',
    '"F31"',
    '""',
    '"toString"',
    '"__proto__"',
    "null",
    "32",
    '["F32"]',
    "{}",
    '"F32 "',
    '"\\u00463\\u0032"',
  ],
  ...['"C64"', '"F4"', `"${"F".repeat(3000)}"`, "[".repeat(130) + "]".repeat(130), '{"F32":{"F32":[]}}'],
];
const SIZES = [
  ...[
    "0",
    "1",
    "3",
    "-1",
    "-0",
    "1.0",
    "1e1",
    "01",
    "+1",
    "null",
    '"1"',
    "[1]",
    "true",
    "NaN",
    "",
    "1 1",
    "0x10",
  ],
  ...["4294967296", "9007199254740991", "9007199254740992", "9007199254740993", "9223372036854775808"],
  ...[
    "18446744073709551615",
    "18446744073709551616",
    "1" + "0".repeat(400),
    "94906266",
    "94906267",
    "67108864",
  ],
];
const VALUES = [
  ...[
    "3",
    '"x"',
    "null",
    "true",
    "[]",
    "{}",
    "[1,2]",
    '{"a":1,"a":2}',
    '{"a":{"b":[1,{}]}}',
    "1.5",
    "-3",
    "[,]",
  ],
  ...[
    "[".repeat(120) + "]".repeat(120),
    "[".repeat(126) + "]".repeat(126),
    "99999999999999999999",
    '"\\udead"',
  ],
];
const METADATA = [
  ...['{"format":"pt"}', "{}", '{"__proto__":"x"}', '{"a":1}', "null", "[]", '"x"', '{"a":"1","a":"2"}'],
  ...['{"a":null}', '{"a":{"b":"c"}}', '{"é":"\\u2028"}', '{"a":"\\ud800"}'],
];
const PIECES = [
  ...[
    "\xff",
    "\xc0\x80",
    "\xed\xa0\x80",
    "\xf5\x80\x80\x80",
    "\xe2\x82",
    "\xef\xbb\xbf",
    "\x00",
    "\x1f",
    "\x7f",
    "\xa0",
  ],
  ...[
    '"',
    "\\",
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    " ",
    "\n",
    "\t",
    "0",
    "-",
    "e",
    ".",
    "//",
    "/*",
    "'",
    "\\u12",
    "u",
  ],
].map((text) => Buffer.from(text, "latin1"));

const LARGEST_JSON = 2 ** 18;

/** Case `index` of the run with this seed: a valid file with none to three things done to it. */
export function fileCase(seed: number, index: number): FileCase {
  const draw = seeded(seed, index);
  const steps: string[] = [];
  const draft = validDraft(draw, steps);
  const count = draw.pick([0, 0, 1, 1, 1, 1, 2, 3]);
  const kinds = Array.from({ length: count }, () =>
    draw.pick(["entry", "entry", "entry", "text", "frame"] as const),
  );
  for (const kind of kinds) if (kind === "entry") mutateDraft(draft, draw, steps);
  let json: Buffer = Buffer.from(textOf(draft, draw));
  for (const kind of kinds) if (kind === "text") json = mutateText(json, draw, steps);
  const frame = { claimed: BigInt(json.length), size: 8 + json.length + draft.dataBytes };
  for (const kind of kinds) if (kind === "frame") mutateFrame(frame, draw, steps);
  // A header of many megabytes in a file that has them is nothing wrong, and slow.
  if (frame.claimed > LARGEST_JSON && frame.claimed <= frame.size - 8) frame.size = 8 + json.length;
  const prefix = Buffer.alloc(8);
  prefix.writeBigUInt64LE(BigInt.asUintN(64, frame.claimed));
  // A length that passes the JSON takes in data, all zeros.
  const missing = frame.claimed <= frame.size - 8 ? Math.max(0, Number(frame.claimed) - json.length) : 0;
  const head = Buffer.concat([prefix, json, Buffer.alloc(missing)]);
  return { head: head.subarray(0, Math.min(head.length, frame.size)), size: frame.size, steps };
}

function validDraft(draw: Draw, steps: string[]): Draft {
  const draft: Draft = {
    entries: [],
    metadata: draw.chance(0.3) ? draw.pick(METADATA.slice(0, 3)) : null,
    dataBytes: 0,
  };
  const large = draw.chance(0.0005);
  if (large) steps.push("many tensors");
  const names = new Set(NAMES.slice(draw.below(NAMES.length)).slice(0, draw.below(5)));
  for (let i = 0; large && i < 500; i++) names.add(`layer.${i}`);
  for (const name of names) {
    const dtype = draw.pick(Object.keys(BYTES) as (keyof typeof BYTES)[]);
    const shape = Array.from({ length: draw.below(4) }, () => draw.pick([0, 1, 1, 2, 3, 5, 1280]));
    const bytes = shape.reduce((a, b) => a * b, BYTES[dtype]);
    const start = draft.dataBytes;
    draft.dataBytes += bytes;
    draft.entries.push({
      key: JSON.stringify(name),
      fields: [
        ['"dtype"', `"${dtype}"`],
        ['"shape"', `[${shape.join(",")}]`],
        ['"data_offsets"', `[${start},${draft.dataBytes}]`],
      ],
    });
  }
  if (draw.chance(0.3)) draw.shuffle(draft.entries);
  return draft;
}

function mutateDraft(draft: Draft, draw: Draw, steps: string[]): void {
  const entry = draft.entries.length > 0 ? draw.pick(draft.entries) : null;
  const set = (field: number, value: string): void => {
    const found = entry?.fields[field];
    if (found !== undefined) found[1] = value;
  };
  const numbers = (field: number): string[] =>
    entry?.fields[field]?.[1].slice(1, -1).split(",").filter(Boolean) ?? [];
  const changes: Record<string, () => void> = {
    key: () => entry !== null && (entry.key = draw.pick(KEYS)),
    dtype: () => set(0, draw.pick(DTYPES)),
    size: () => set(1, `[${[...numbers(1), draw.pick(SIZES)].join(",")}]`),
    overflow: () =>
      set(1, `[${draw.shuffle(["134217728", "134217728", draw.pick(["1", "0", "2"])]).join(",")}]`),
    "no list": () => set(1 + draw.below(2), draw.pick(VALUES)),
    offset: () => {
      const pair = numbers(2);
      const at = draw.below(2);
      pair[at] = draw.chance(0.5) ? draw.pick(SIZES) : String(Number(pair[at]) + draw.pick([-1, 1, 4, -4]));
      set(2, `[${pair.join(",")}]`);
    },
    "both offsets": () => {
      const by = draw.pick([1, 4, -1, 2 ** 40, 2 ** 53]);
      set(
        2,
        `[${numbers(2)
          .map((value) => String(Number(value) + by))
          .join(",")}]`,
      );
    },
    "offsets reversed": () => set(2, `[${numbers(2).reverse().join(",")}]`),
    "three offsets": () => set(2, `[${[...numbers(2), "0"].slice(draw.below(3)).join(",")}]`),
    "field twice": () => entry?.fields.push([...draw.pick(entry.fields)]),
    "field gone": () => entry?.fields.splice(draw.below(entry.fields.length), 1),
    "field more": () => entry?.fields.push([draw.pick(KEYS), draw.pick(VALUES)]),
    "entry twice": () => entry !== null && draft.entries.push({ ...entry }),
    "entry gone": () => draft.entries.splice(draw.below(draft.entries.length), 1),
    "empty tensor": () => {
      const at = draw.pick([0, draft.dataBytes, draw.below(draft.dataBytes + 1)]);
      const fields = [
        ["dtype", '"F32"'],
        ["shape", "[0,7]"],
        ["data_offsets", `[${at},${at}]`],
      ] as const;
      draft.entries.push({ key: '"empty"', fields: fields.map(([key, value]) => [`"${key}"`, value]) });
    },
    metadata: () => (draft.metadata = draw.pick(METADATA)),
    "large data": () => {
      const bytes = draw.pick([2 ** 31, 2 ** 32, 2 ** 45, 2 ** 52]);
      const offsets = `[${draft.dataBytes},${draft.dataBytes + bytes}]`;
      const fields: [string, string][] = [
        ['"shape"', `[${bytes}]`],
        ['"dtype"', '"U8"'],
        ['"data_offsets"', offsets],
      ];
      draft.entries.push({ key: '"large"', fields });
      draft.dataBytes += bytes;
    },
    deep: () => {
      const depth = draw.chance(0.01) ? 10_000 : draw.pick([126, 125, 127, 1000]);
      const deep = draw.chance(0.5)
        ? "[".repeat(depth) + "]".repeat(depth)
        : '{"a":'.repeat(depth) + "1" + "}".repeat(depth);
      if (draw.chance(0.5)) entry?.fields.push(['"more"', deep]);
      else set(draw.below(3), deep);
    },
    long: () => {
      const length = draw.chance(0.01) ? 10_000 : 500;
      if (draw.chance(0.5)) set(1, `[${Array.from({ length }, () => 1).join(",")}]`);
      else if (entry !== null) entry.key = JSON.stringify("长".repeat(length));
    },
  };
  const name = draw.pick(Object.keys(changes));
  steps.push(name);
  changes[name]!();
}

function textOf({ entries, metadata }: Draft, draw: Draw): string {
  const gap = (): string => (draw.chance(0.05) ? draw.pick([" ", "\n", "\t\r\n"]) : "");
  const parts = entries.map(({ key, fields }) => {
    const inside = fields.map(([name, value]) => `${name}:${gap()}${value}`).join(`,${gap()}`);
    return `${key}${gap()}:{${inside}${gap()}}`;
  });
  if (metadata !== null) parts.splice(draw.below(parts.length + 1), 0, `"__metadata__":${metadata}`);
  const json = `{${parts.join(",")}}`;
  return draw.chance(0.5) ? json.padEnd(Math.ceil(json.length / 8) * 8) : json;
}

function mutateText(json: Buffer, draw: Draw, steps: string[]): Buffer {
  const at = draw.below(json.length + 1);
  const until = at + draw.pick([1, 1, 1, 2, 5, 40]);
  const change = draw.pick([
    "insert",
    "delete",
    "replace",
    "cut",
    "repeat",
    "append",
    "prepend",
    "flip",
  ] as const);
  steps.push(`${change} at ${at}`);
  switch (change) {
    case "insert":
      return Buffer.concat([json.subarray(0, at), draw.pick(PIECES), json.subarray(at)]);
    case "delete":
      return Buffer.concat([json.subarray(0, at), json.subarray(until)]);
    case "replace":
      return Buffer.concat([json.subarray(0, at), draw.pick(PIECES), json.subarray(until)]);
    case "cut":
      return json.subarray(0, at);
    case "repeat":
      return Buffer.concat([json.subarray(0, until), json.subarray(at)]);
    case "append":
      return Buffer.concat([json, draw.pick(PIECES)]);
    case "prepend":
      return Buffer.concat([draw.pick(PIECES), json]);
    case "flip": {
      const copy = Buffer.from(json);
      if (at < copy.length) copy[at]! ^= 1 << draw.below(8);
      return copy;
    }
  }
}

function mutateFrame(frame: { claimed: bigint; size: number }, draw: Draw, steps: string[]): void {
  const { claimed, size } = frame;
  const lengths = [0n, 1n, 2n, claimed - 1n, claimed + 1n, claimed + 8n, BigInt(size), BigInt(size) - 8n];
  const huge = [
    99_999_999n,
    100_000_000n,
    100_000_001n,
    2n ** 31n,
    2n ** 32n,
    2n ** 53n,
    2n ** 63n,
    2n ** 64n - 1n,
  ];
  const sizes = [size - 1, size + 1, size - 8, size + 2 ** 33, draw.below(size), draw.below(12)];
  if (draw.chance(0.5)) frame.claimed = draw.pick([...lengths, ...huge]);
  else frame.size = Math.max(0, draw.pick(sizes));
  steps.push(`length ${frame.claimed}, size ${frame.size}`);
}

/** A stream of draws of its own for every pair of numbers (mulberry32). */
function seeded(seed: number, index: number) {
  let state = Math.imul(seed, 0x9e3779b1) ^ Math.imul(index + 1, 0x85ebca6b);
  const unit = (): number => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  const below = (count: number): number => Math.floor(unit() * count);
  return {
    below,
    chance: (probability: number): boolean => unit() < probability,
    pick: <T>(values: readonly T[]): T => values[below(values.length)]!,
    shuffle<T>(values: T[]): T[] {
      for (let i = values.length - 1; i > 0; i--) {
        const j = below(i + 1);
        [values[i], values[j]] = [values[j]!, values[i]!];
      }
      return values;
    },
  };
}
