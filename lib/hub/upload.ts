import { pathToFileURL } from "node:url";
import { KpopError, throwIfAborted } from "../errors";
import { openHub, type Hub } from "./hub";
import { hubFetch } from "./hub-fetch";
import { formatHubName, type HubName } from "./hub-name";

/** A file that goes up: one of this machine, or a text. */
export interface UploadFile {
  /** In the repository. */
  readonly path: string;
  readonly content: { readonly file: string } | { readonly text: string };
}

export interface UploadOptions {
  /** First line of the commit. */
  title: string;
  /** Of a repository that does not exist yet. */
  visibility: "public" | "private";
  signal?: AbortSignal | undefined;
  /** Called when a file moves on: with the share of it that has been hashed, or has arrived. */
  onProgress?:
    ((progress: { file: string; phase: "hashing" | "uploading"; share: number }) => void) | undefined;
}

/**
 * Commits files to a repository, which is made where it does not exist. They appear there together or not at all; a large
 * file that has arrived before is not sent again.
 * @param name where: a branch in the place of the revision; its path is no part of `files`' paths
 * @returns the commit, and its page
 * @throws PACKAGE_MISSING; INVALID_ARGUMENT offline, and what `openHub` throws; ACCESS_DENIED without a token that may write; NOT_FOUND (the branch);
 *   NETWORK_ERROR, IO_ERROR, ABORTED
 */
export async function upload(
  name: HubName,
  files: readonly UploadFile[],
  options: UploadOptions,
): Promise<{ commit: string; url: string }> {
  const { signal } = options;
  throwIfAborted(signal);
  const hub = await openHub();
  if (hub.offline)
    throw new KpopError(
      "INVALID_ARGUMENT",
      `Nothing is uploaded to ${formatHubName(name)}: HF_HUB_OFFLINE is set`,
    );
  if (hub.token === null)
    throw new KpopError(
      "ACCESS_DENIED",
      `Uploading to ${formatHubName(name)} takes a token that may write there; give one in HF_TOKEN, or by \`hf auth login\``,
    );
  try {
    await makeRepository(hub, name, options);
    return await commitFiles(hub, name, files, options);
  } catch (error) {
    throwIfAborted(signal);
    if (error instanceof KpopError || (error as NodeJS.ErrnoException).syscall !== undefined) throw error;
    const words = (error as Error).message.replaceAll(hub.token, "***");
    throw new KpopError("IO_ERROR", `The upload to ${formatHubName(name)} failed: ${words}`);
  }
}

async function makeRepository(hub: Hub, name: HubName, { signal, visibility }: UploadOptions): Promise<void> {
  const { library, endpoint: hubUrl } = hub;
  const fetch = hubFetch(hub, name, signal);
  try {
    await library.modelInfo({ name: name.repository, hubUrl, fetch });
  } catch (error) {
    if (!(error instanceof KpopError && error.code === "NOT_FOUND")) throw error;
    const repo = { type: "model" as const, name: name.repository };
    // The library wants a token of its own form; `hubFetch` gives the real one.
    await library.createRepo({ repo, visibility, hubUrl, fetch, accessToken: "" });
  }
}

async function commitFiles(
  hub: Hub,
  name: HubName,
  files: readonly UploadFile[],
  { title, signal, onProgress }: UploadOptions,
): Promise<{ commit: string; url: string }> {
  const { library, endpoint } = hub;
  const steps = library.commitIter({
    repo: { type: "model", name: name.repository },
    branch: name.revision,
    title,
    operations: files.map(({ path, content }) => ({
      operation: "addOrUpdate",
      path,
      content: "file" in content ? pathToFileURL(content.file) : new Blob([content.text]),
    })),
    hubUrl: endpoint,
    fetch: hubFetch(hub, name, signal),
    ...(signal === undefined ? {} : { abortSignal: signal }),
  });
  for (;;) {
    const { done, value } = await steps.next();
    if (done === true) {
      const commit = value?.commit.oid ?? "";
      return { commit, url: `${endpoint}/${name.repository}/commit/${commit}` };
    }
    if (value.event === "fileProgress" && value.state !== "error")
      onProgress?.({ file: value.path, phase: value.state, share: value.progress });
  }
}
