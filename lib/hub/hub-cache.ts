import { copyFile, readdir, readFile, readlink, realpath, rename, rm, stat, symlink } from "node:fs/promises";
import { dirname, join, relative, sep } from "node:path";
import { KpopError } from "../errors";
import { writeFileAtomically } from "../files/atomic";
import { makeFolder } from "../files/make-folder";
import { temporaryBeside } from "../files/temporaries";
import type { Hub } from "./hub";
import { isPlainPath, type HubName } from "./hub-name";

const COMMIT = /^[0-9a-f]{40}$/;

/** A repository's place in the cache, in the layout that Python's huggingface_hub shares. */
export class CachedRepository {
  readonly root: string;
  /** Contents of its files, by their hashes. */
  readonly blobs: string;
  /** Where locks of its files lie. */
  readonly locks: string;

  constructor(
    private readonly hub: Hub,
    { repository }: Pick<HubName, "repository">,
  ) {
    const folder = hub.library.getRepoFolderName({ type: "model", name: repository });
    this.root = join(hub.cache, folder);
    this.blobs = join(this.root, "blobs");
    this.locks = join(hub.cache, ".locks", folder);
  }

  /** A file or folder, as a commit has it. */
  snapshot(commit: string, path: string): string {
    return join(this.root, "snapshots", commit, path);
  }

  /** The commit that a revision was when it was last asked for; null where it was never. */
  async commitOf(revision: string): Promise<string | null> {
    if (COMMIT.test(revision)) return revision;
    const text = await readFile(join(this.root, "refs", revision), "utf8").catch(() => "");
    return COMMIT.test(text.trim()) ? text.trim() : null;
  }

  /** @throws IO_ERROR, NO_SPACE */
  async rememberCommit(revision: string, commit: string): Promise<void> {
    if (revision === commit || (await this.commitOf(revision)) === commit) return;
    const path = join(this.root, "refs", revision);
    await makeFolder(dirname(path));
    await writeFileAtomically(path, commit);
  }

  /** Files of a commit that are there, by their paths in the repository. @throws IO_ERROR on one that leads elsewhere */
  async filesOf(commit: string): Promise<string[]> {
    const folder = this.snapshot(commit, "");
    const entries = await readdir(folder, { recursive: true, withFileTypes: true }).catch(() => []);
    const paths = entries
      .filter((entry) => !entry.isDirectory())
      .map(({ parentPath, name }) => join(parentPath, name));
    const found: string[] = [];
    for (const path of paths) if (await this.holds(path)) found.push(relative(folder, path));
    return found;
  }

  /**
   * Whether a file is there, of the right size where that is known.
   * @throws IO_ERROR where links lead out of the cache
   */
  async holds(path: string, size?: number): Promise<boolean> {
    const real = await realpath(path).catch(() => null);
    if (real === null) return false;
    await this.checkInside(path, real);
    const found = await stat(real);
    return found.isFile() && (size === undefined || found.size === size);
  }

  /** Puts a blob in its place in a snapshot: a relative link, or a copy where the file system has none. */
  async place(commit: string, path: string, hash: string): Promise<void> {
    const [link, blob] = [this.snapshot(commit, path), join(this.blobs, hash)];
    await makeFolder(dirname(link));
    await this.checkInside(link, await realpath(dirname(link)));
    const target = relative(dirname(link), blob);
    if ((await readlink(link).catch(() => null)) === target) return;
    // What another process may be reading is never away: the new one takes its place.
    const temporary = temporaryBeside(link);
    try {
      await symlink(target, temporary).catch(() => copyFile(blob, temporary));
      await rename(temporary, link);
    } finally {
      await rm(temporary, { force: true });
    }
  }

  /** A user may have moved the cache, or one repository of it, to another disk by a link; nothing else leads out. */
  private async checkInside(path: string, real: string): Promise<void> {
    for (const folder of [this.hub.cache, this.root])
      if (real.startsWith((await realpath(folder).catch(() => folder)) + sep)) return;
    throw new KpopError(
      "IO_ERROR",
      `${path} is refused: it leads out of the cache of the hub, to ${real}; remove it`,
    );
  }
}

/** @throws IO_ERROR on a commit or path that cannot have come from a hub: it would be a place on this disk */
export function checkRemote(name: HubName, commit: string, paths: readonly string[]): void {
  const wrong = COMMIT.test(commit) ? paths.find((path) => !isPlainPath(path)) : commit;
  if (wrong === undefined) return;
  throw new KpopError(
    "IO_ERROR",
    `${name.repository} is refused: it names ${JSON.stringify(wrong)}, which may lead out of the folder it is downloaded into`,
  );
}
