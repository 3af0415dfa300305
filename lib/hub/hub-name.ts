import { invalid } from "../check";

/** What `hf:user/name[@revision][/path]` names. */
export interface HubName {
  /** user/name */
  readonly repository: string;
  /** A branch, a tag or a commit. */
  readonly revision: string;
  /** A folder or a file in the repository; "" for all of it. */
  readonly path: string;
}

const PREFIX = "hf:";
const FORM = /^hf:([\w][\w.-]*\/[\w][\w.-]*)(?:@(refs\/(?:pr|convert)\/[^/@]+|[^/@]+))?(?:\/(.*?))?\/?$/;

/** Whether a path is the name of something on the hub. */
export function isHubName(path: string): boolean {
  return path.startsWith(PREFIX);
}

/** @param option what it is given as, for the message   @throws INVALID_ARGUMENT */
export function parseHubName(option: string, given: string): HubName {
  const [, repository, revision = "main", path = ""] = FORM.exec(given) ?? [];
  const plain = decoded(revision);
  const wrong =
    repository === undefined ||
    /--|\.\.|\.git$/.test(repository) ||
    !isPlainPath(plain) ||
    (path !== "" && !isPlainPath(path));
  if (wrong)
    throw invalid(option, '"hf:user/name", then @revision and /folder or /file where wanted,', given);
  return { repository, revision: plain, path };
}

/** The name as it is written. */
export function formatHubName({ repository, revision, path }: HubName): string {
  const at =
    revision === "main"
      ? ""
      : `@${/^refs\/\w+\/[^/]+$/.test(revision) ? revision : encodeURIComponent(revision)}`;
  return `${PREFIX}${repository}${at}${path === "" ? "" : `/${path}`}`;
}

/**
 * Whether a path that another machine names stays within the folder that it is put into, on any system: no ".." or ".",
 * not absolute, no drive, no backslash, no control characters.
 */
export function isPlainPath(path: string): boolean {
  return path.split("/").every((part) => part !== "" && !/^\.{1,2}$|^[a-z]:|[\\\0-\x1f\x7f]/i.test(part));
}

/** A branch with slashes is written with %2F. */
function decoded(revision: string): string {
  try {
    return decodeURIComponent(revision);
  } catch {
    return "..";
  }
}
