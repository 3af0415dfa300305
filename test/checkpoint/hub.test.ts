import { cpSync, existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join, relative, resolve } from "node:path";
import {
  ClipScorer,
  convert,
  erase,
  ImageClassifier,
  inspect,
  KpopError,
  push,
  StableDiffusion,
  type Erasure,
  type PushOptions,
  type RunManifest,
} from "../../lib/index";
import { cli, jsonLines } from "../support/cli";
import { commit, hubServer, sha256, type HubServer } from "../support/hub-server";
import { leaveHub, useHub } from "../support/hub-environment";
import { temporaryDirectory } from "../support/temporary-directory";

const POCKET = resolve("models/pocket");
const BASE = "hf:me/pocket";
const UNET = "unet/diffusion_pytorch_model.safetensors";

let hub: HubServer;
let cache: string;

const filesOf = (folder: string): Record<string, Buffer> =>
  Object.fromEntries(
    readdirSync(folder, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map(({ parentPath, name }) => join(parentPath, name))
      .map((path) => [relative(folder, path), readFileSync(path)]),
  );
const hashes = (files: Readonly<Record<string, Buffer>>): Record<string, string> =>
  Object.fromEntries(Object.entries(files).map(([path, content]) => [path, sha256(content)]));
const latest = (name: string) => {
  const { commits, refs } = hub.repositories[name]!;
  return commits[refs["main"]!]!;
};
const uploads = () => hub.requests.filter(({ origin, method }) => origin === "storage" && method === "PUT");

beforeAll(async () => {
  const pocket = filesOf(POCKET);
  const index = JSON.parse(String(pocket["model_index.json"])) as object;
  const withChecker = { ...index, safety_checker: ["stable_diffusion", "StableDiffusionSafetyChecker"] };
  pocket["model_index.json"] = Buffer.from(JSON.stringify(withChecker));
  pocket["safety_checker/model.safetensors"] = Buffer.alloc(1000);
  pocket["unet/diffusion_pytorch_model.non_ema.safetensors"] = Buffer.alloc(1000);
  hub = await hubServer({ "me/pocket": { commits: { [commit(1)]: pocket }, refs: { main: commit(1) } } });
  cache = useHub(hub.url, hub.token);
});

afterAll(async () => {
  await hub.close();
  leaveHub();
});

describe("a model on the hub", () => {
  it("loads with its parts, of which only those that are read are downloaded", async () => {
    const files: string[] = [];
    using model = disposable(
      await StableDiffusion.load(BASE, { onDownload: ({ file }) => void files.push(file) }),
    );
    using plain = disposable(await StableDiffusion.load("pocket"));
    const name = model.unet.parameterNames()[0]!;
    expect(await model.unet.parameter(name).data()).toEqual(await plain.unet.parameter(name).data());
    expect(new Set(files)).toContain(UNET);
    expect([...new Set(files)].filter((file) => /safety_checker|non_ema|clip|classifier/.test(file))).toEqual(
      [],
    );
  });

  it("converts, without the safety checker that was not downloaded", async () => {
    const out = join(temporaryDirectory(), "out");
    await convert(BASE, out);
    expect(sha256(readFileSync(join(out, UNET)))).toBe(sha256(readFileSync(join(POCKET, UNET))));
    expect(existsSync(join(out, "LICENSE"))).toBe(true);
    const index = JSON.parse(readFileSync(join(out, "model_index.json"), "utf8")) as object;
    expect(index).toMatchObject({
      safety_checker: [null, null],
      unet: ["diffusers", "UNet2DConditionModel"],
    });
  });

  it("may be a classifier, a CLIP, or one file", async () => {
    using classifier = disposable(await ImageClassifier.load(`${BASE}/classifier`));
    using clip = disposable(await ClipScorer.load(`${BASE}@${commit(1)}/clip`));
    using pocket = disposable(await ClipScorer.load("pocket"));
    expect(classifier.classes.has("church")).toBe(true);
    expect(await clip.hash()).toBe(await pocket.hash());
    expect(await inspect(`${BASE}/${UNET}`)).toMatchObject({ kind: "safetensors" });
  });
});

describe("what is pushed to the hub", () => {
  let erasure: Erasure;
  let delta: string;
  let folder: string;

  beforeAll(async () => {
    erasure = await erase(BASE, { method: "uce", concepts: "church", neighbours: "off" });
    delta = join(temporaryDirectory(), "no-church-delta");
    folder = join(temporaryDirectory(), "no-church");
    await erasure.save(delta, { format: "delta" });
    await erasure.save(folder);
  });

  afterAll(() => erasure.dispose());

  const refused = async (path: string, name: string, options: PushOptions = {}): Promise<KpopError> => {
    const error = await push(path, name, options).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(KpopError);
    return error as KpopError;
  };

  it("tells in its manifest of the repository and the commit, and neither of a place nor a token", () => {
    expect(erasure.manifest.hub).toEqual({ repository: "me/pocket", revision: commit(1) });
    expect(erasure.manifest.inputs[UNET]).toBe(sha256(readFileSync(join(POCKET, UNET))));
    const text = readFileSync(join(delta, "kpop-run.json"), "utf8");
    for (const secret of [hub.token, hub.url, cache]) expect(text).not.toContain(secret);
  });

  it("as a delta gets a model card, and loads onto its base as from this disk", async () => {
    const told: number[] = [];
    const pushed = await push(delta, "hf:me/no-church-delta", {
      license: "mit",
      onProgress: ({ files }) => told.push(files),
    });
    expect(pushed).toEqual({
      name: "hf:me/no-church-delta",
      commit: commit(1),
      url: `${hub.url}/me/no-church-delta/commit/${commit(1)}`,
      files: ["delta.safetensors", "kpop-run.json", "README.md"],
    });
    expect(told.at(-1)).toBe(1);
    expect(hub.repositories["me/no-church-delta"]!.access).toBe("private");
    const card = String(latest("me/no-church-delta")["README.md"]);
    expect(card).toContain("license: mit\n");
    expect(card).toContain("base_model: me/pocket\n");
    expect(card).toContain("base_model_relation: adapter\n");
    expect(card).toContain("as a delta: it applies onto that model");
    expect(uploads().map(({ authorization }) => authorization)).toEqual([undefined]);

    using again = disposable(await StableDiffusion.load(BASE, { delta: pushed.name }));
    using local = disposable(await StableDiffusion.load("pocket", { delta }));
    for (const name of erasure.model.changed)
      expect(await again.unet.parameter(name).bytes()).toEqual(await local.unet.parameter(name).bytes());
  });

  it("as a folder has its own card, to the byte, and is not sent a second time", async () => {
    await push(folder, "hf:me/no-church", { public: true, message: "Without churches" });
    expect(hub.repositories["me/no-church"]!.access).toBe("public");
    const { ".gitattributes": made, ...files } = hashes(latest("me/no-church"));
    expect(made).toBeDefined();
    const { "kpop-log.json": log, ...sent } = hashes(filesOf(folder));
    expect(log).toBeDefined(); // its command names places of this machine
    expect(files).toEqual(sent);
    const before = uploads().length;
    const again = await push(folder, "hf:me/no-church/v2");
    expect(uploads().length).toBe(before);
    expect(again.files).toContain(`v2/${UNET}`);
    const { manifest } = await inspectRun("hf:me/no-church/v2");
    expect(manifest).toMatchObject({ method: "uce", concepts: ["church"] });
  });

  it("is no key, nor anything else that is no part of a saved model", async () => {
    const other = join(temporaryDirectory(), "other");
    cpSync(delta, other, { recursive: true });
    writeFileSync(join(other, "no-church.key.safetensors"), "key");
    const error = await refused(other, "hf:me/secret");
    expect([error.code, error.message]).toEqual([
      "INVALID_ARGUMENT",
      expect.stringContaining("belongs to no saved model: no-church.key.safetensors"),
    ]);
    expect((await refused(join(other, "no-church.key.safetensors"), "hf:me/secret")).code).toBe(
      "INVALID_SAFETENSORS",
    );
    expect(hub.repositories["me/secret"]).toBeUndefined();
  });

  it("has to have a card, or what one is written from", async () => {
    const other = join(temporaryDirectory(), "other");
    cpSync(delta, other, { recursive: true });
    const run = JSON.parse(readFileSync(join(delta, "kpop-run.json"), "utf8")) as RunManifest;
    delete run.hub;
    writeFileSync(join(other, "kpop-run.json"), JSON.stringify(run));
    const error = await refused(other, "hf:me/secret");
    expect(error.message).toContain("Expected baseModel to be given (USER/MODEL), for the model card");
    expect((await refused(folder, "hf:me/secret", { license: "mit" })).message).toContain(
      "Expected license to be left out",
    );
  });

  it("needs a token that may write, a branch that is there, and a hub", async () => {
    const { requests } = hub;
    expect((await refused(delta, "hf:me/no-church-delta@next")).code).toBe("NOT_FOUND");
    process.env["HF_TOKEN"] = "hf_wrong";
    const wrong = await refused(delta, "hf:me/no-church-delta");
    expect(wrong.code).toBe("ACCESS_DENIED");
    expect(wrong.message).not.toContain("hf_wrong");
    delete process.env["HF_TOKEN"];
    const sent = requests.length;
    expect((await refused(delta, "hf:me/no-church-delta")).message).toContain(
      "takes a token that may write there",
    );
    Object.assign(process.env, { HF_TOKEN: hub.token, HF_HUB_OFFLINE: "1" });
    expect((await refused(delta, "hf:me/no-church-delta")).message).toContain("HF_HUB_OFFLINE is set");
    delete process.env["HF_HUB_OFFLINE"];
    const signal = AbortSignal.abort();
    expect((await refused(delta, "hf:me/no-church-delta", { signal })).code).toBe("ABORTED");
    expect(requests.length).toBe(sent);
  });

  it("stops at the signal, and publishes nothing", async () => {
    const before = { ...hub.repositories["me/no-church-delta"]!.refs };
    const controller = new AbortController();
    const { signal } = controller;
    const stop = { signal, onProgress: () => controller.abort() };
    expect((await refused(delta, "hf:me/no-church-delta", stop)).code).toBe("ABORTED");
    expect(hub.repositories["me/no-church-delta"]!.refs).toEqual(before);
  });

  async function inspectRun(name: string) {
    const found = await inspect(name);
    return { manifest: "run" in found ? found.run : undefined };
  }
});

describe("on the command line", () => {
  it("hf: names a model and a delta, and push publishes", async () => {
    const work = temporaryDirectory();
    const env = { HF_HUB_CACHE: join(work, "cache") };
    const inspected = await cli(["inspect", BASE, "--json"], { env });
    expect([inspected.code, inspected.stderr]).toEqual([
      0,
      expect.stringMatching(
        /^Looking for hf:me\/pocket\nmegabyte \d+ of 12 .*\n(?:.*\n)?megabyte 12 of 12 .*\n$/,
      ),
    ]);
    expect(jsonLines(inspected.stdout)).toMatchObject([{ kind: "model", format: "diffusers" }]);
    const erased = await cli(
      [
        "erase",
        BASE,
        "--concept",
        "church",
        "--method",
        "uce",
        "--neighbours",
        "off",
        "--format",
        "delta",
        "--out",
        "d",
      ],
      { env, cwd: work },
    );
    expect([erased.code, erased.stdout]).toEqual([0, expect.stringContaining(`it applies onto ${BASE}:`)]);
    const pushed = await cli(["push", "d", "hf:me/by-command", "--json"], { env, cwd: work });
    expect([pushed.code, pushed.stderr]).toEqual([0, expect.not.stringContaining(hub.token)]);
    expect(jsonLines(pushed.stdout)).toMatchObject([
      { event: "done", name: "hf:me/by-command", commit: commit(1) },
    ]);
    const drawn = await cli(
      [
        "generate",
        BASE,
        "--delta",
        "hf:me/by-command",
        "--prompt",
        "dog",
        "--steps",
        "1",
        "--out",
        "dog.png",
      ],
      { env, cwd: work },
    );
    expect([drawn.code, drawn.stdout]).toEqual([0, "dog.png\n"]);
    const missing = await cli(["generate", "me/nothing", "--prompt", "x", "--out", join(work, "x.png")], {
      env,
    });
    expect([missing.code, missing.stderr]).toEqual([1, expect.stringContaining("give hf:me/nothing")]);
  });
});

function disposable<T extends { dispose(): void }>(value: T): T & Disposable {
  return Object.assign(value, { [Symbol.dispose]: () => value.dispose() });
}
