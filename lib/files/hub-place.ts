/** Where a path lies in the cache that Hugging Face's libraries share. */
export interface HubPlace {
  /** Folder of the repository: its snapshots are links into blobs/ there. */
  readonly root: string;
  /** USER/MODEL; undefined for one of the old names without a user. */
  readonly repository: string | undefined;
  /** The commit. */
  readonly revision: string;
}

const CACHED = /^((?:.*?\/)?models--([^/]+))\/snapshots\/([^/]+)(?:\/|$)/;

/** @returns null for a path that lies elsewhere */
export function hubPlace(path: string): HubPlace | null {
  const [, root, folder, revision] = CACHED.exec(path) ?? [];
  if (root === undefined || folder === undefined || revision === undefined) return null;
  const [user, ...model] = folder.split("--");
  return { root, repository: model.length === 0 ? undefined : `${user}/${model.join("--")}`, revision };
}
