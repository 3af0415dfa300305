import { createHash } from "node:crypto";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

/** Files of a commit, by path. */
export type HubFiles = Readonly<Record<string, Buffer>>;

/** One model on the hub. */
export interface HubRepository {
  /** By commit. */
  commits: Record<string, HubFiles>;
  /** Branches and tags. */
  refs: Record<string, string>;
  access?: "public" | "private" | "gated";
}

/** A request as it arrived. */
export interface HubRequest {
  origin: "hub" | "storage";
  method: string;
  url: string;
  authorization: string | undefined;
  range: string | undefined;
}

/** What goes wrong with the large files. */
export interface StorageFaults {
  /** Bytes after which each answer breaks off; the answers that do, by index: all where it is true. */
  cutAfter?: number;
  cuts?: number;
  ignoreRanges?: boolean;
  /** Every byte is another one. */
  corrupt?: boolean;
  /** Answers with 403 this many times, as an address does that is no longer good. */
  refusals?: number;
  /** Answers nothing any more after this many bytes. */
  hangAfter?: number;
}

/** A hub on this machine, with the large files on another origin, as on huggingface.co. */
export interface HubServer {
  url: string;
  storage: string;
  requests: HubRequest[];
  repositories: Record<string, HubRepository>;
  faults: StorageFaults;
  /** Only this token opens what is not public; it may write. */
  token: string;
  /** Status that every answer of the hub has; "silent" for none at all, "portal" for a web page; null for its own. */
  down: number | "silent" | "portal" | null;
  /** Paths that the tree has beside the files. */
  strayPaths: string[];
  close(): Promise<void>;
}

const PAGE = 7;

/** Whether the hub keeps a file's content apart (LFS). */
const isLarge = (path: string): boolean => path.endsWith(".safetensors");

export const gitHash = (content: Buffer): string =>
  createHash("sha1").update(`blob ${content.length}\0`).update(content).digest("hex");
export const sha256 = (content: Buffer): string => createHash("sha256").update(content).digest("hex");
const hashOf = (path: string, content: Buffer): string => (isLarge(path) ? sha256 : gitHash)(content);

/** A commit's name that depends on nothing but a number. */
export const commit = (number: number): string => createHash("sha1").update(`commit ${number}`).digest("hex");

interface Context {
  hub: HubServer;
  uploaded: Map<string, Buffer>;
  request: IncomingMessage;
  response: ServerResponse;
  url: URL;
}

export async function hubServer(repositories: Record<string, HubRepository>): Promise<HubServer> {
  const uploaded = new Map<string, Buffer>();
  const hub: HubServer = {
    url: "",
    storage: "",
    requests: [],
    repositories,
    faults: {},
    token: "hf_right",
    down: null,
    strayPaths: [],
    close: async () => {
      for (const server of [front, back]) {
        server.closeAllConnections();
        await new Promise((resolve) => server.close(resolve));
      }
    },
  };
  const serve =
    (origin: "hub" | "storage", answer: (context: Context) => Promise<void> | void) =>
    (request: IncomingMessage, response: ServerResponse) => {
      const { method = "", url = "", headers } = request;
      hub.requests.push({ origin, method, url, authorization: headers.authorization, range: headers.range });
      const context = {
        hub,
        uploaded,
        request,
        response,
        url: new URL(url, hub[origin === "hub" ? "url" : "storage"]),
      };
      void Promise.resolve(answer(context)).catch((error: Error) =>
        refuse(response, 500, "Broken", error.message),
      );
    };
  const front = createServer(serve("hub", answerHub));
  const back = createServer(serve("storage", answerStorage));
  for (const [server, name] of [
    [front, "url"],
    [back, "storage"],
  ] as const) {
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    hub[name] = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  }
  return hub;
}

async function answerHub(context: Context): Promise<void> {
  const { hub, request, response, url } = context;
  if (hub.down === "silent") return;
  if (hub.down === "portal") return void response.end("<html>Please log in</html>");
  if (hub.down !== null) return refuse(response, hub.down, "Down", "no service");
  const { authorization } = request.headers;
  const isWriter = authorization === `Bearer ${hub.token}`;
  const path = decodeURI(url.pathname);
  if (authorization !== undefined && !isWriter)
    return refuse(response, 401, "", `Invalid credentials in ${authorization}`);
  if (path === "/api/repos/create") return await create(context);
  const [, name, rest = ""] =
    /^\/api\/models\/([^/]+\/[^/]+)(\/.*)?$/.exec(path) ??
    /^\/([^/]+\/[^/]+?)((?:\.git)?\/.*)$/.exec(path) ??
    [];
  const repository = name === undefined ? undefined : hub.repositories[name];
  const hidden = repository === undefined || (repository.access === "private" && !isWriter);
  if (hidden)
    return refuse(response, authorization === undefined ? 401 : 404, "RepoNotFound", "Repository not found");
  if (request.method === "POST" && !isWriter) return refuse(response, 403, "", "read only");
  if (rest.startsWith("/preupload/")) return await preupload(context);
  if (rest.endsWith("/info/lfs/objects/batch")) return await batch(context);
  const [, verb, revision = "", file = ""] =
    /^\/(revision|tree|resolve|commit)\/([^/]+)(?:\/(.*))?$/.exec(rest) ?? [];
  const sha = decodeURIComponent(revision);
  if (verb === "commit") return await commitFiles(context, repository, sha);
  const found = repository.commits[sha] === undefined ? repository.refs[sha === "HEAD" ? "main" : sha] : sha;
  if (found === undefined) return refuse(response, 404, "RevisionNotFound", `Invalid rev id: ${sha}`);
  const files = repository.commits[found]!;
  if (verb === "revision")
    return json(response, { _id: "1", id: name, sha: found, private: false, lastModified: 0 });
  if (verb === "tree") return tree(context, files, file);
  if (repository.access === "gated" && !isWriter)
    return refuse(response, 403, "GatedRepo", `Access to model ${name} is restricted`);
  giveFile(context, found, file, files[file]);
}

function tree({ hub, response, url }: Context, files: HubFiles, folder: string): void {
  const start = folder === "" ? "" : `${folder}/`;
  const entries = Object.entries(files)
    .filter(([path]) => path.startsWith(start))
    .map(([path, content]) => ({
      type: "file",
      path,
      size: content.length,
      oid: gitHash(isLarge(path) ? Buffer.from(`pointer of ${sha256(content)}`) : content),
      ...(isLarge(path) ? { lfs: { oid: sha256(content), size: content.length, pointerSize: 134 } } : {}),
    }));
  if (entries.length === 0) return refuse(response, 404, "EntryNotFound", `${folder} does not exist`);
  for (const path of hub.strayPaths)
    entries.unshift({ type: "file", path, size: 4, oid: gitHash(Buffer.from("evil")) });
  const from = Number(url.searchParams.get("cursor") ?? 0);
  if (from + PAGE < entries.length) {
    url.searchParams.set("cursor", String(from + PAGE));
    response.setHeader("link", `<${url.href}>; rel="next"`);
  }
  json(response, entries.slice(from, from + PAGE));
}

function giveFile(context: Context, sha: string, path: string, bytes: Buffer | undefined): void {
  const { hub, response } = context;
  response.setHeader("x-repo-commit", sha);
  if (bytes === undefined) return refuse(response, 404, "EntryNotFound", `${path} does not exist`);
  const hash = hashOf(path, bytes);
  if (!isLarge(path)) {
    response.setHeader("etag", `"${hash}"`);
    return send(context, bytes, {});
  }
  response.setHeader("x-linked-etag", `"${hash}"`);
  response.setHeader("x-linked-size", bytes.length);
  response.setHeader("location", `${hub.storage}/blobs/${hash}?signature=secret-of-the-storage`);
  response.writeHead(302).end();
}

async function answerStorage(context: Context): Promise<void> {
  const { hub, request, response, url } = context;
  const hash = url.pathname.split("/").at(-1)!;
  if (request.method === "PUT") {
    context.uploaded.set(hash, await bodyOf(request));
    return void response.writeHead(200, { etag: '"stored"' }).end();
  }
  const { refusals = 0 } = hub.faults;
  hub.faults = { ...hub.faults, refusals: refusals - 1 };
  if (refusals > 0) return refuse(response, 403, "", "expired");
  const all = Object.values(hub.repositories).flatMap(({ commits }) => Object.values(commits));
  const content = all.flatMap((files) => Object.values(files)).find((one) => sha256(one) === hash);
  if (content === undefined) return refuse(response, 404, "", "no such blob");
  response.setHeader("etag", `"${hash}"`);
  send(
    context,
    hub.faults.corrupt === true ? Buffer.from(content.map((byte) => ~byte)) : content,
    hub.faults,
  );
}

/** With ranges, as far as a fault lets it. */
function send({ hub, request, response }: Context, content: Buffer, faults: StorageFaults): void {
  const [, first] = /^bytes=(\d+)-/.exec(request.headers.range ?? "") ?? [];
  const partial = first !== undefined && faults.ignoreRanges !== true;
  const start = partial ? Number(first) : 0;
  const body = content.subarray(start);
  if (partial) response.setHeader("content-range", `bytes ${start}-${content.length - 1}/${content.length}`);
  response.setHeader("accept-ranges", "bytes");
  response.writeHead(partial ? 206 : 200, { "content-length": body.length });
  if (request.method === "HEAD") return void response.end();
  const { cutAfter, hangAfter, cuts = Infinity } = faults;
  const stop = hangAfter ?? (cuts > 0 ? cutAfter : undefined);
  if (stop === undefined || body.length <= stop) return void response.end(body);
  hub.faults = { ...faults, cuts: cuts - 1 };
  response.write(body.subarray(0, stop), () => {
    if (hangAfter === undefined) setTimeout(() => response.destroy(), 20);
  });
}

async function create({ hub, request, response }: Context): Promise<void> {
  const { name, organization, visibility } = JSON.parse(String(await bodyOf(request))) as Record<
    string,
    string
  >;
  if (request.headers.authorization === undefined) return refuse(response, 401, "", "Unauthorized");
  const id = `${organization}/${name}`;
  if (hub.repositories[id] !== undefined) return refuse(response, 409, "", "exists");
  hub.repositories[id] = {
    commits: { [commit(0)]: { ".gitattributes": Buffer.from("*.safetensors filter=lfs\n") } },
    refs: { main: commit(0) },
    access: visibility === "private" ? "private" : "public",
  };
  json(response, { url: `${hub.url}/${id}`, id });
}

async function preupload({ request, response }: Context): Promise<void> {
  const { files } = JSON.parse(String(await bodyOf(request))) as { files: { path: string }[] };
  json(response, {
    files: files.map(({ path }) => ({
      path,
      uploadMode: isLarge(path) ? "lfs" : "regular",
      shouldIgnore: false,
    })),
  });
}

async function batch({ hub, uploaded, request, response }: Context): Promise<void> {
  const { objects } = JSON.parse(String(await bodyOf(request))) as {
    objects: { oid: string; size: number }[];
  };
  json(response, {
    transfer: "basic",
    objects: objects.map(({ oid, size }) => ({
      ...{ oid, size },
      ...(uploaded.has(oid)
        ? {}
        : { actions: { upload: { href: `${hub.storage}/uploads/${oid}?signature=secret-of-the-storage` } } }),
    })),
  });
}

async function commitFiles(
  { hub, uploaded, request, response, url }: Context,
  repository: HubRepository,
  branch: string,
): Promise<void> {
  const before = repository.refs[branch];
  if (before === undefined) return refuse(response, 404, "RevisionNotFound", `Invalid rev id: ${branch}`);
  const lines = String(await bodyOf(request))
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as { key: string; value: Record<string, string> });
  const files: Record<string, Buffer> = { ...repository.commits[before] };
  for (const { key, value } of lines) {
    if (key === "file") files[value["path"]!] = Buffer.from(value["content"]!, "base64");
    if (key !== "lfsFile") continue;
    const content = uploaded.get(value["oid"]!);
    if (content === undefined || sha256(content) !== value["oid"])
      return refuse(response, 400, "", `${value["path"]} was not uploaded whole`);
    files[value["path"]!] = content;
  }
  const sha = commit(Object.keys(repository.commits).length);
  repository.commits[sha] = files;
  repository.refs[branch] = sha;
  const name = url.pathname.split("/").slice(3, 5).join("/");
  json(response, {
    success: true,
    commitOid: sha,
    commitUrl: `${hub.url}/${name}/commit/${sha}`,
    hookOutput: "",
  });
}

async function bodyOf(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

function json(response: ServerResponse, value: unknown): void {
  response.setHeader("content-type", "application/json; charset=utf-8");
  response.end(JSON.stringify(value));
}

function refuse(response: ServerResponse, status: number, code: string, message: string): void {
  response.writeHead(status, {
    "x-error-code": code,
    "x-error-message": message,
    "content-type": "application/json",
  });
  response.end(JSON.stringify({ error: message }));
}
