import { jobOptions, knownKeys } from "../check";
import { snapshot, type DownloadProgress, type SnapshotOptions } from "../hub/download";
import { isHubName, parseHubName } from "../hub/hub-name";
import { neededFiles } from "./needed-files";

/** Options of `download`. */
export interface DownloadOptions {
  signal?: AbortSignal;
  onProgress?(progress: DownloadProgress): void;
}

/**
 * Brings a model, or another file that this library reads, from a hub into the cache that Python's huggingface_hub has too
 * (HF_HOME, HF_HUB_CACHE, HF_TOKEN, HF_ENDPOINT and HF_HUB_OFFLINE are honoured). What is there already is not downloaded
 * again, and what broke off goes on. Everything that takes a path takes such a name as well; this is for downloading before,
 * with progress.
 * @param name "hf:user/name", then "@revision" (a branch, tag or commit; "main" when not given) and "/folder" or "/file"
 *   where wanted: a pipeline, what an erasure was saved as, a folder with a classifier or CLIP, a safetensors file
 * @returns the path in the cache, for as long as nobody removes it
 * @throws INVALID_ARGUMENT; PACKAGE_MISSING without @huggingface/hub; ACCESS_DENIED (private, gated, a wrong token);
 *   NOT_FOUND (the repository, the revision, the file; offline, what was never downloaded); UNSUPPORTED_FORMAT (pickled
 *   weights); NETWORK_ERROR; IO_ERROR (a wrong hash too), NO_SPACE, ABORTED
 */
export async function download(name: string, options: DownloadOptions = {}): Promise<string> {
  knownKeys("the download options", options, ["signal", "onProgress"]);
  jobOptions(options, "onProgress");
  return await fetched("name", name, {
    signal: options.signal,
    onProgress: options.onProgress?.bind(options),
  });
}

/** A path as it is; of what a hub has, the place that it was downloaded to. @throws what `download` throws */
export async function localPath(path: string, options: SnapshotOptions = {}): Promise<string> {
  return isHubName(path) ? await fetched("path", path, options) : path;
}

async function fetched(option: string, given: string, options: SnapshotOptions): Promise<string> {
  const name = parseHubName(option, given);
  return await snapshot(name, (files) => neededFiles(files, name), options);
}
