import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { PromptKey, type PromptKeyFields } from "../../../lib/diffusion/prompt-key";
import * as safetensors from "../../../lib/io/safetensors";
import { Random } from "../../../lib/runtime/random";
import { scope } from "../../../lib/runtime/scope";
import { Tensor } from "../../../lib/runtime/tensor";
import { temporaryDirectory } from "../../support/temporary-directory";

const key = (fields: Partial<PromptKeyFields> = {}): PromptKey =>
  new PromptKey({
    prompt: new Random(1).normal([3, 8]),
    mechanism: "concat",
    layers: "mid-up",
    concepts: ["church"],
    ...fields,
  });
const bytes = async (tensor: Tensor): Promise<Buffer> => Buffer.from(await tensor.bytes());
const file = (): string => join(temporaryDirectory(), "key.safetensors");

describe("PromptKey", () => {
  it.each<[string, Partial<PromptKeyFields>]>([
    ["concatenative", {}],
    ["bound to a model", { model: "0a".repeat(32) }],
    [
      "additive, in named layers",
      { mechanism: "additive", layers: ["mid_block.attn2", "up_blocks.1.attn2"] },
    ],
    ["amortised, concatenated", { form: "amortised", prompt: new Random(1).normal([6, 8]) }],
    [
      "amortised, added",
      { form: "amortised", mechanism: "additive", layers: "all", prompt: new Random(1).normal([6, 8]) },
    ],
    ["of words before the text encoder", { place: "token", model: "0b".repeat(32) }],
    [
      "of words for each concept",
      { place: "token", prompt: new Random(2).normal([2, 3, 8]), concepts: ["church", "dog"] },
    ],
    [
      "with a prompt for each concept",
      { prompt: new Random(2).normal([2, 3, 8]), concepts: ["church", "dög 🐶"] },
    ],
  ])("comes back from its file: %s, plain and encrypted", async (_, fields) => {
    for (const options of [{}, { passphrase: "grün ☂" }]) {
      const path = file();
      const saved = key(fields);
      await saved.save(path, options);
      const loaded = await PromptKey.load(path, options);
      expect(loaded.prompt.shape).toEqual(saved.prompt.shape);
      expect((await bytes(loaded.prompt)).equals(await bytes(saved.prompt))).toBe(true);
      const { form, place, mechanism, layers, concepts, model, perConcept } = saved;
      expect(loaded).toMatchObject({ form, place, mechanism, layers, concepts, perConcept });
      expect(loaded.model).toBe(model);
    }
  });

  it("takes the place of an older file, but not of another concept's key", async () => {
    const refused = (words: RegExp) => ({
      code: "OUTPUT_NOT_EMPTY",
      message: expect.stringMatching(words) as string,
    });
    for (const options of [{}, { passphrase: "one" }]) {
      const path = file();
      writeFileSync(path, "no key");
      await key({ concepts: ["church"] }).save(path, options);
      await key({ concepts: ["church"] }).save(path, options);
      const before = readFileSync(path);
      const other = key({ concepts: ["dog"] }).save(path, options);
      await expect(other).rejects.toMatchObject(refused(/is the key of "church"/));
      const unopened = key({ concepts: ["church"] }).save(path, { passphrase: "two" });
      if ("passphrase" in options) await expect(unopened).rejects.toMatchObject(refused(/does not open/));
      else await unopened;
      expect(readFileSync(path).equals(before)).toBe("passphrase" in options);
    }
  });

  it("is stored as float32 whatever its dtype", async () => {
    const path = file();
    await key({ prompt: Tensor.from([1, 2, 3, 4], [2, 2], { dtype: "bfloat16" }) }).save(path);
    const { prompt } = await PromptKey.load(path);
    expect([prompt.dtype, Array.from(await prompt.data(), Number)]).toEqual(["float32", [1, 2, 3, 4]]);
  });

  it("outlives the scope that it was loaded in", async () => {
    const path = file();
    await key().save(path);
    await key().save(`${path}.locked`, { passphrase: "p" });
    const loaded: PromptKey[] = [];
    await scope(async () => {
      loaded.push(await PromptKey.load(path), await PromptKey.load(`${path}.locked`, { passphrase: "p" }));
    });
    expect(loaded.map(({ prompt }) => prompt.disposed)).toEqual([false, false]);
  });

  it("opens with the same passphrase in another Unicode form", async () => {
    const path = file();
    await key().save(path, { passphrase: "caf\u00e9" });
    await expect(PromptKey.load(path, { passphrase: "cafe\u0301" })).resolves.toBeInstanceOf(PromptKey);
  });

  it("shows nothing of prompt and concepts in an encrypted file, and another file each time", async () => {
    const paths = [file(), file()];
    const saved = key({ concepts: ["churchtower"] });
    for (const path of paths) await saved.save(path, { passphrase: "p" });
    const [a, b] = paths.map((path) => readFileSync(path));
    expect(a!.includes("churchtower")).toBe(false);
    expect(a!.includes("mid-up")).toBe(false);
    expect(a!.includes((await bytes(saved.prompt)).subarray(0, 8))).toBe(false);
    expect(a!.equals(b!)).toBe(false);
  });

  it("refuses a wrong passphrase, and none where one is needed", async () => {
    for (const passphrase of [5, null, ""] as string[])
      await expect(PromptKey.load("nowhere", { passphrase })).rejects.toMatchObject({
        code: "INVALID_ARGUMENT",
      });
    const path = file();
    await key().save(path, { passphrase: "right" });
    await expect(PromptKey.load(path, { passphrase: "wrong" })).rejects.toMatchObject({
      name: "KpopError",
      code: "INVALID_KEY",
      message: expect.stringContaining("does not open with this passphrase") as string,
    });
    await expect(PromptKey.load(path)).rejects.toMatchObject({
      code: "INVALID_KEY",
      message: expect.stringContaining("is encrypted; give its passphrase") as string,
    });
  });

  it("refuses an encrypted file with any byte of its data changed", async () => {
    const path = file();
    await key().save(path, { passphrase: "p" });
    const content = readFileSync(path);
    const start = 8 + Number(content.readBigUInt64LE(0));
    for (const at of [start, start + Math.floor((content.length - start) / 2), content.length - 1]) {
      const changed = Buffer.from(content);
      changed[at]! ^= 1;
      writeFileSync(path, changed);
      await expect(PromptKey.load(path, { passphrase: "p" })).rejects.toMatchObject({ code: "INVALID_KEY" });
    }
  });

  it("refuses other safetensors files, later versions and damaged keys", async () => {
    const path = file();
    const [prompt, odd] = [Tensor.zeros([2, 2]), Tensor.zeros([3, 2])];
    const header = JSON.stringify({ mechanism: "concat", layers: "mid", concepts: ["church"] });
    const metadata = { format: "kpop-prompt-key", version: "1", key: header };
    await safetensors.save(path, { prompt }, metadata);
    // Keys of the first versions have no form and no place.
    await expect(PromptKey.load(path)).resolves.toMatchObject({ form: "free", place: "cross-attention" });

    const encrypted = {
      ...metadata,
      encryption: "scrypt+aes-256-gcm",
      salt: "00".repeat(16),
      nonce: "00".repeat(12),
    };
    const cases: [Record<string, Tensor>, Record<string, string>, RegExp][] = [
      [{ prompt }, {}, /is no prompt key; erase/],
      [{ prompt }, { ...metadata, version: "2" }, /version 2; this library reads version 1/],
      [{ prompt }, { ...metadata, key: "{" }, /damaged/],
      [{ prompt }, { ...metadata, key: header.replace("concat", "multiply") }, /damaged/],
      [{ prompt }, { ...metadata, key: header.replace("{", '{"model":7,') }, /damaged/],
      [{ prompt }, { ...metadata, key: header.replace('"mid"', "7") }, /damaged/],
      [{ prompt }, { ...metadata, key: header.replace('["church"]', '"church"') }, /damaged/],
      [{ prompt }, { ...metadata, key: header.replace("{", '{"form":"learned",') }, /damaged/],
      [{ prompt }, { ...metadata, key: header.replace("{", '{"form":["free"],') }, /damaged/],
      [{ prompt }, { ...metadata, key: header.replace("{", '{"place":"image",') }, /damaged/],
      [
        { prompt },
        { ...metadata, key: header.replace("{", '{"form":"amortised","place":"token",') },
        /damaged/,
      ],
      [{ prompt }, { ...metadata, key: header.replace("{", '{"secret":1,') }, /damaged/],
      [{ prompt: odd }, { ...metadata, key: header.replace("{", '{"form":"amortised",') }, /damaged/],
      [{ prompt: Tensor.zeros([4]) }, metadata, /damaged/],
      [{ other: prompt }, metadata, /damaged/],
      [{ prompt }, encrypted, /damaged/],
      [{ sealed: Tensor.zeros([8], { dtype: "uint8" }) }, encrypted, /damaged/],
      [{ sealed: Tensor.zeros([64], { dtype: "uint8" }) }, { ...encrypted, encryption: "rot13" }, /damaged/],
    ];
    for (const [tensors, texts, message] of cases) {
      await safetensors.save(path, tensors, texts);
      await expect(PromptKey.load(path, { passphrase: "p" })).rejects.toMatchObject({
        code: "INVALID_KEY",
        message: expect.stringMatching(message) as string,
      });
    }
  });

  it("says so when there is no such file, or no safetensors file", async () => {
    const path = file();
    await expect(PromptKey.load(path)).rejects.toMatchObject({ code: "NOT_FOUND" });
    writeFileSync(path, "not a key");
    await expect(PromptKey.load(path)).rejects.toMatchObject({ code: "INVALID_SAFETENSORS" });
  });

  it("never saves in the clear because an option was misspelt or empty", async () => {
    const path = file();
    const refused = { name: "KpopError", code: "INVALID_ARGUMENT" };
    for (const options of [{ passPhrase: "p" }, { passphrase: "" }, { passphrase: 5 }, null])
      await expect(key().save(path, options as object)).rejects.toMatchObject(refused);
    await expect(PromptKey.load(path)).rejects.toMatchObject({ code: "NOT_FOUND" });
    await expect(PromptKey.load(path, { pass: "p" } as object)).rejects.toMatchObject(refused);
  });

  it("gives the key of one concept", async () => {
    const prompt = new Random(2).normal([2, 3, 8]);
    const both = key({ prompt, concepts: ["church", "dog"] });
    const dog = both.select("dog");
    expect(dog).toMatchObject({
      concepts: ["dog"],
      perConcept: false,
      layers: "mid-up",
      mechanism: "concat",
    });
    expect(dog.prompt.shape).toEqual([3, 8]);
    expect((await bytes(dog.prompt)).equals((await bytes(prompt)).subarray(4 * 24))).toBe(true);
    expect(() => both.select("cat")).toThrow(/one of "church", "dog"/);
    const words = key({ place: "token", prompt, concepts: ["church", "dog"], model: "0a".repeat(32) });
    expect(words.select("church")).toMatchObject({ form: "free", place: "token", model: words.model });
    const shared = key({ concepts: ["church", "dog"] });
    expect(shared.select("dog")).toBe(shared);
  });

  it.each<[string, object, RegExp]>([
    ["a prompt that is no tensor", { prompt: [1, 2] }, /prompt to be a Tensor/],
    ["a prompt of another rank", { prompt: Tensor.zeros([8]) }, /prompt to be of shape/],
    ["prompts for another number of concepts", { prompt: Tensor.zeros([2, 3, 8]) }, /\(1, k, d\)/],
    ["an unknown mechanism", { mechanism: "prefix" }, /mechanism/],
    ["an unknown form", { form: "learned" }, /form/],
    ["an unknown place", { place: "image" }, /place/],
    ["an amortised one before the text encoder", { form: "amortised", place: "token", prompt: Tensor.zeros([2, 8]) }, /form to be "free" where place is "token"/], // prettier-ignore
    ["an amortised one of an odd height", { form: "amortised" }, /\(2h, d\)/],
    [
      "an amortised one for each concept",
      { form: "amortised", prompt: Tensor.zeros([1, 4, 8]) },
      /\(2h, d\)/,
    ],
    ["unknown layers", { layers: "down" }, /layers/],
    ["no layers", { layers: [] }, /layers/],
    ["concepts in one string", { concepts: "church" }, /concepts/],
    ["a model that is no hash", { model: "sd14" }, /model to be 64 hexadecimal digits/],
    ["an unknown field", { passphrase: "p" }, /"passphrase"/],
  ])("refuses %s", (_, fields, message) => {
    expect(() => key(fields)).toThrow(
      expect.objectContaining({ code: "INVALID_ARGUMENT", message: expect.stringMatching(message) }),
    );
  });

  it("frees its prompt", () => {
    const made = key();
    made.dispose();
    expect(made.prompt.disposed).toBe(true);
  });
});
