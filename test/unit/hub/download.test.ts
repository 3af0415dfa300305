import {
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  readlinkSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { download, KpopError } from "../../../lib/index";
import { commit, gitHash, hubServer, sha256, type HubServer } from "../../support/hub-server";
import { leaveHub, useHub } from "../../support/hub-environment";
import { temporaryDirectory } from "../../support/temporary-directory";

const SIZE = 300_000;
const WEIGHTS = Buffer.from(Array.from({ length: SIZE }, (_, i) => (i * 7 + (i >> 8)) & 0xff));
const CLASSIFIER = {
  "config.json": Buffer.from('{"depth": 18}'),
  "model.safetensors": WEIGHTS,
  "pytorch_model.bin": Buffer.from("pickle"),
  "notes.txt": Buffer.from("no one reads this"),
};

let hub: HubServer;
let cache: string;

beforeEach(async () => {
  hub = await hubServer({
    "me/classifier": {
      commits: {
        [commit(1)]: CLASSIFIER,
        [commit(2)]: { ...CLASSIFIER, "config.json": Buffer.from('{"depth": 34}') },
      },
      refs: { main: commit(1), "v2/new": commit(2) },
    },
  });
  cache = useHub(`${hub.url}/`);
});

afterEach(async () => {
  await hub.close();
  leaveHub();
});

const repository = (): string => join(cache, "models--me--classifier");
const partial = (): string => join(repository(), "blobs", `${sha256(WEIGHTS)}.kpop.incomplete`);
const failure = async (name: string, options = {}): Promise<KpopError> => {
  const error = await download(name, options).then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(KpopError);
  return error as KpopError;
};
const transfers = () => hub.requests.filter(({ origin, method }) => origin === "storage" && method === "GET");

describe("a download from the hub", () => {
  it("brings what is read here, and nothing else, into the layout that Python's library has", async () => {
    const seen: number[] = [];
    const path = await download("hf:me/classifier", { onProgress: ({ bytes }) => seen.push(bytes) });
    expect(path).toBe(join(repository(), "snapshots", commit(1)));
    const blobs = { "config.json": gitHash(CLASSIFIER["config.json"]), "model.safetensors": sha256(WEIGHTS) };
    for (const [name, hash] of Object.entries(blobs)) {
      expect(readlinkSync(join(path, name))).toBe(`../../blobs/${hash}`);
      expect(readFileSync(join(path, name)).equals(CLASSIFIER[name as keyof typeof CLASSIFIER])).toBe(true);
    }
    expect(readFileSync(join(repository(), "refs/main"), "utf8")).toBe(commit(1));
    for (const name of ["pytorch_model.bin", "notes.txt"]) expect(existsSync(join(path, name))).toBe(false);
    expect(seen.at(-1)).toBe(SIZE + CLASSIFIER["config.json"].length);
    expect(seen.length).toBeGreaterThan(2);
  });

  it("asks for files that are there no more", async () => {
    await download("hf:me/classifier");
    hub.requests = [];
    await download("hf:me/classifier");
    expect(hub.requests.filter(({ url }) => /resolve|blobs/.test(url))).toEqual([]);
    // Another commit has the same weights: they are one blob.
    const other = await download("hf:me/classifier@v2%2Fnew");
    expect(other).toBe(join(repository(), "snapshots", commit(2)));
    expect(transfers()).toEqual([]);
    expect(readlinkSync(join(other, "model.safetensors"))).toBe(`../../blobs/${sha256(WEIGHTS)}`);
    expect(readFileSync(join(repository(), "refs/v2/new"), "utf8")).toBe(commit(2));
  });

  it("finds the cache in HF_HOME, and a commit by its name", async () => {
    delete process.env["HF_HUB_CACHE"];
    const home = temporaryDirectory();
    process.env["HF_HOME"] = home;
    expect(await download(`hf:me/classifier@${commit(2)}/config.json`)).toBe(
      join(home, "hub/models--me--classifier/snapshots", commit(2), "config.json"),
    );
  });

  it("goes on where the connection broke off", async () => {
    hub.faults = { cutAfter: 90_000, cuts: 3 };
    const path = await download("hf:me/classifier");
    expect(readFileSync(join(path, "model.safetensors")).equals(WEIGHTS)).toBe(true);
    const ranges = transfers().map(({ range }) => Number(/^bytes=(\d+)-$/.exec(range ?? "bytes=0-")?.[1]));
    expect(ranges).toHaveLength(4);
    expect(ranges[0]).toBe(0);
    expect(ranges.slice(1).every((start, i) => start > ranges[i]!)).toBe(true);
    expect(existsSync(partial())).toBe(false);
  });

  it("asks the hub again where its storage refuses an address", async () => {
    hub.faults = { refusals: 2 };
    const path = await download("hf:me/classifier");
    expect(readFileSync(join(path, "model.safetensors")).equals(WEIGHTS)).toBe(true);
    expect(
      hub.requests.filter(({ url }) => url.includes("/resolve/") && url.includes(".safetensors")),
    ).toHaveLength(3);
  });

  it("goes on with what an earlier call left", async () => {
    mkdirSync(join(repository(), "blobs"), { recursive: true });
    writeFileSync(partial(), WEIGHTS.subarray(0, 200_000));
    await download("hf:me/classifier");
    expect(transfers().map(({ range }) => range)).toEqual(["bytes=200000-"]);
  });

  it("starts again where what was left is damaged, or the server gives no ranges", async () => {
    mkdirSync(join(repository(), "blobs"), { recursive: true });
    writeFileSync(partial(), Buffer.alloc(200_000));
    const path = await download("hf:me/classifier");
    expect(transfers().map(({ range }) => range)).toEqual(["bytes=200000-", undefined]);
    expect(readFileSync(join(path, "model.safetensors")).equals(WEIGHTS)).toBe(true);

    process.env["HF_HUB_CACHE"] = cache = join(temporaryDirectory(), "hub");
    hub.faults = { cutAfter: 150_000, cuts: 1, ignoreRanges: true };
    const again = await download("hf:me/classifier");
    expect(readFileSync(join(again, "model.safetensors")).equals(WEIGHTS)).toBe(true);
  });

  it("gives up, and keeps what has arrived, where nothing more comes", async () => {
    hub.faults = { cutAfter: 0 };
    const error = await failure("hf:me/classifier/model.safetensors");
    expect(error.code).toBe("NETWORK_ERROR");
    expect(error.message).toContain("broke off after 0 of 300000 bytes");
    expect(transfers()).toHaveLength(5);
  });

  it("refuses content of another hash, and keeps none of it", async () => {
    hub.faults = { corrupt: true };
    const error = await failure("hf:me/classifier");
    expect(error.code).toBe("IO_ERROR");
    expect(error.message).toContain(`another hash than the repository says (${sha256(WEIGHTS)})`);
    expect(existsSync(partial())).toBe(false);
    expect(existsSync(join(repository(), "snapshots", commit(1), "model.safetensors"))).toBe(false);
    expect(existsSync(join(repository(), "refs/main"))).toBe(false);
  });

  it("downloads again what was cut short in the cache", async () => {
    const path = await download("hf:me/classifier");
    writeFileSync(join(repository(), "blobs", sha256(WEIGHTS)), "short");
    await download("hf:me/classifier");
    expect(readFileSync(join(path, "model.safetensors")).equals(WEIGHTS)).toBe(true);
  });

  it("stops at the signal from the first request on, and keeps what has arrived", async () => {
    expect((await failure("hf:me/classifier", { signal: AbortSignal.abort() })).code).toBe("ABORTED");
    expect(hub.requests).toEqual([]);
    hub.down = "silent";
    const waiting = new AbortController();
    setTimeout(() => waiting.abort(), 100);
    expect((await failure("hf:me/classifier", { signal: waiting.signal })).code).toBe("ABORTED");
    hub.down = null;
    hub.faults = { hangAfter: 200_000 };
    const controller = new AbortController();
    const error = await failure("hf:me/classifier", {
      signal: controller.signal,
      onProgress: ({ bytes }: { bytes: number }) => bytes > 150_000 && controller.abort(),
    });
    expect(error.code).toBe("ABORTED");
    expect(lstatSync(partial()).size).toBeGreaterThan(149_000);
    hub.faults = {};
    await download("hf:me/classifier");
    expect(transfers().at(-1)!.range).toMatch(/^bytes=(?:1[45-9]|20)\d{4}-$/);
  });

  it("lets two calls at once download each file once", async () => {
    await Promise.all([download("hf:me/classifier"), download("hf:me/classifier")]);
    expect(transfers()).toHaveLength(1);
  });

  it("never takes away what another call has put in its place", async () => {
    const path = join(repository(), "snapshots", commit(1), "model.safetensors");
    const seen: boolean[] = [];
    let looking = true;
    const look = (): void => {
      seen.push(existsSync(path));
      if (looking) setImmediate(look);
    };
    look();
    await Promise.all(Array.from({ length: 8 }, () => download("hf:me/classifier")));
    looking = false;
    expect(seen.at(-1)).toBe(true);
    expect(seen.slice(seen.indexOf(true))).not.toContain(false);
  });

  it("ends with what a listener throws, and takes it for no broken connection", async () => {
    const error = new Error("boom");
    const onProgress = (): void => {
      throw error;
    };
    await expect(download("hf:me/classifier", { onProgress })).rejects.toBe(error);
    expect(transfers().length).toBeLessThanOrEqual(1);
    await download("hf:me/classifier");
  });

  it("brings a detector that is named", async () => {
    const content = Buffer.from("a detector");
    hub.repositories["me/classifier"]!.commits[commit(1)] = { ...CLASSIFIER, "320n.onnx": content };
    expect(readFileSync(await download("hf:me/classifier/320n.onnx"))).toEqual(content);
  });
});

describe("the token", () => {
  beforeEach(() => (hub.repositories["me/classifier"]!.access = "private"));

  it.each([
    ["HF_TOKEN", () => (process.env["HF_TOKEN"] = " hf_right\n")],
    [
      "the file that a login leaves",
      () => {
        const home = temporaryDirectory();
        writeFileSync(join(home, "token"), "hf_right\n");
        delete process.env["HF_TOKEN_PATH"];
        process.env["HF_HOME"] = home;
      },
    ],
  ])("is read from %s, and goes to the hub and no other host", async (_name, set) => {
    set();
    await download("hf:me/classifier");
    const origins = (origin: string) =>
      new Set(hub.requests.filter((one) => one.origin === origin).map(({ authorization }) => authorization));
    expect(origins("hub")).toEqual(new Set(["Bearer hf_right"]));
    expect(origins("storage")).toEqual(new Set([undefined]));
  });

  it("is never in a message, not even where the hub repeats it", async () => {
    process.env["HF_TOKEN"] = "hf_wrong_secret";
    const error = await failure("hf:me/classifier");
    expect(error.code).toBe("ACCESS_DENIED");
    expect(error.message).toContain("does not take the token");
    expect(error.message).toContain("Invalid credentials in Bearer ***");
    expect(JSON.stringify([error.message, error.stack, String(error.cause)])).not.toContain("secret");
  });

  it("is refused, and not shown, where it can be none", async () => {
    process.env["HF_TOKEN"] = "hf_sécret";
    const error = await failure("hf:me/classifier");
    expect(error.code).toBe("INVALID_ARGUMENT");
    expect(String(error.stack)).not.toContain("cret");
  });

  it("is left out where HF_HUB_DISABLE_IMPLICIT_TOKEN says so", async () => {
    Object.assign(process.env, { HF_TOKEN: "hf_right", HF_HUB_DISABLE_IMPLICIT_TOKEN: "1" });
    expect((await failure("hf:me/classifier")).code).toBe("ACCESS_DENIED");
    expect(hub.requests.every(({ authorization }) => authorization === undefined)).toBe(true);
  });
});

describe("what a hub refuses", () => {
  it.each([
    ["hf:me/nothing", "ACCESS_DENIED", "me/nothing is not on 127.0.0.1:"],
    ["hf:me/classifier@v9", "NOT_FOUND", "me/classifier has no revision v9"],
    ["hf:me/classifier/sub", "NOT_FOUND", "There is no sub in hf:me/classifier"],
    ["hf:me/classifier/other.safetensors", "NOT_FOUND", "There is no other.safetensors in hf:me/classifier"],
    ["hf:me/classifier/pytorch_model.bin", "UNSUPPORTED_FORMAT", "holds pickled weights"],
    ["hf:me/classifier/notes.txt", "UNSUPPORTED_FORMAT", "it is no safetensors, no JSON and no detector"],
    ["hf:me", "INVALID_ARGUMENT", 'Expected name to be "hf:user/name"'],
    ["hf:me/../../etc", "INVALID_ARGUMENT", 'Expected name to be "hf:user/name"'],
    ["hf:me/classifier/../../x", "INVALID_ARGUMENT", 'Expected name to be "hf:user/name"'],
    ["hf:me/classifier@..%2F..%2Fx", "INVALID_ARGUMENT", 'Expected name to be "hf:user/name"'],
    ["hf:me/classifier/a\\..\\b", "INVALID_ARGUMENT", 'Expected name to be "hf:user/name"'],
  ])("of %s is %s: %s", async (name, code, words) => {
    const error = await failure(name);
    expect([error.code, error.message]).toEqual([code, expect.stringContaining(words)]);
    expect(existsSync(join(cache, "models--me--classifier/snapshots"))).toBe(false);
  });

  it("with a token, of a repository that does not exist, is NOT_FOUND", async () => {
    process.env["HF_TOKEN"] = "hf_right";
    expect((await failure("hf:me/nothing")).code).toBe("NOT_FOUND");
  });

  it("of a gated one says whose terms to accept, and where", async () => {
    hub.repositories["me/classifier"]!.access = "gated";
    const error = await failure("hf:me/classifier");
    expect(error.code).toBe("ACCESS_DENIED");
    expect(error.message).toContain(
      `me/classifier is gated: its terms have to be accepted on ${hub.url}/me/classifier`,
    );
  });

  it("is not tried to get by a package that is missing", async () => {
    jest.doMock("@huggingface/hub", () => {
      throw new Error("Cannot find module");
    });
    const error = await failure("hf:me/classifier");
    jest.dontMock("@huggingface/hub");
    expect([error.code, error.message]).toEqual([
      "PACKAGE_MISSING",
      expect.stringContaining("npm install @huggingface/hub"),
    ]);
  });

  it("is an HF_ENDPOINT that is no URL, or has a password in it", async () => {
    for (const url of ["ftp://x", "nonsense", "https://user:secret@hub.example"]) {
      process.env["HF_ENDPOINT"] = url;
      const error = await failure("hf:me/classifier");
      expect(error.code).toBe("INVALID_ARGUMENT");
      expect(error.message).not.toContain("secret");
    }
  });
});

describe("without a connection", () => {
  it("HF_HUB_OFFLINE takes what the cache has, and asks nobody", async () => {
    const path = await download("hf:me/classifier");
    hub.requests = [];
    process.env["HF_HUB_OFFLINE"] = "1";
    expect(await download("hf:me/classifier")).toBe(path);
    expect(await download(`hf:me/classifier@${commit(1)}`)).toBe(path);
    for (const name of ["hf:me/classifier@v2%2Fnew", "hf:me/other"]) {
      const error = await failure(name);
      expect([error.code, error.message]).toEqual(["NOT_FOUND", expect.stringContaining("HF_HUB_OFFLINE")]);
    }
    expect(hub.requests).toEqual([]);
  });

  it("goes on with the cache where the hub does not answer, and says so", async () => {
    const warn = jest.spyOn(process, "emitWarning").mockImplementation();
    const path = await download("hf:me/classifier");
    hub.down = 503;
    expect(await download("hf:me/classifier")).toBe(path);
    expect((await failure("hf:me/other")).code).toBe("NETWORK_ERROR");
    expect((await failure("hf:me/classifier/other.json")).code).toBe("NETWORK_ERROR");
    hub.down = "portal";
    expect((await failure("hf:me/other")).code).toBe("NETWORK_ERROR");
    process.env["HF_ENDPOINT"] = "http://127.0.0.1:1";
    expect(await download("hf:me/classifier")).toBe(path);
    const error = await failure("hf:me/other");
    expect([error.code, error.message]).toEqual([
      "NETWORK_ERROR",
      expect.stringContaining("http://127.0.0.1:1"),
    ]);
    const said = [
      expect.stringContaining("does not answer; going on with"),
      { code: "KPOP_HUB_UNREACHABLE" },
    ];
    expect(warn.mock.calls).toEqual([said, said]);
    warn.mockRestore();
  });
});

describe("no path of a repository leaves the cache", () => {
  it.each([
    "../../evil.json",
    "/etc/evil.json",
    "a\\..\\evil.json",
    "C:evil.json",
    "a/./b.json",
    "a//b.json",
  ])("where the hub names %s", async (path) => {
    hub.strayPaths = [path];
    const error = await failure("hf:me/classifier");
    expect([error.code, error.message]).toEqual([
      "IO_ERROR",
      expect.stringContaining("may lead out of the folder"),
    ]);
    expect(existsSync(repository())).toBe(false);
  });

  it("where the hub names a commit that is a path", async () => {
    hub.repositories["me/classifier"]!.commits["../../../evil"] = CLASSIFIER;
    hub.repositories["me/classifier"]!.refs["main"] = "../../../evil";
    expect((await failure("hf:me/classifier")).message).toContain("may lead out of the folder");
  });

  it("where a link in the cache does", async () => {
    const elsewhere = temporaryDirectory();
    writeFileSync(join(elsewhere, "secret.json"), "secret");
    const path = join(repository(), "snapshots", commit(1));
    mkdirSync(path, { recursive: true });
    symlinkSync(join(elsewhere, "secret.json"), join(path, "config.json"));
    expect((await failure("hf:me/classifier")).message).toContain("it leads out of the cache of the hub");
    process.env["HF_HUB_OFFLINE"] = "1";
    expect((await failure(`hf:me/classifier@${commit(1)}`)).message).toContain("it leads out of the cache");
  });

  it("where a link in the place of a part does", async () => {
    const target = join(temporaryDirectory(), "mine");
    writeFileSync(target, "mine");
    mkdirSync(join(repository(), "blobs"), { recursive: true });
    symlinkSync(target, partial());
    expect((await failure("hf:me/classifier")).code).toBe("IO_ERROR");
    expect(readFileSync(target, "utf8")).toBe("mine");
  });

  it("though the cache itself may be a link to another disk", async () => {
    const elsewhere = temporaryDirectory();
    process.env["HF_HUB_CACHE"] = cache = join(temporaryDirectory(), "link");
    symlinkSync(elsewhere, cache);
    const path = await download("hf:me/classifier");
    expect(readFileSync(join(path, "model.safetensors")).equals(WEIGHTS)).toBe(true);
  });
});
