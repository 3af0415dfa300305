import { join } from "node:path";
import { joinRun } from "../files/join-run";
import { makeFolder } from "../files/make-folder";
import { Image } from "../io/image";
import { digest } from "./identity";
import { findMissing } from "./image-set-files";

/** Says what run a folder's pictures are of. */
export const RUN_FILE = "run.json";

/** Pictures of one call of `generate` that a folder keeps by their places, each whole, for other processes to find. */
export class KeptPictures {
  private constructor(private readonly folder: string) {}

  /**
   * @param identity all that the pictures depend on, as JSON holds it
   * @throws INVALID_ARGUMENT where the folder keeps those of another call; IO_ERROR, NO_SPACE
   */
  static async open(directory: string, identity: Readonly<Record<string, unknown>>): Promise<KeptPictures> {
    await makeFolder(directory);
    await joinRun(join(directory, RUN_FILE), () => Promise.resolve(identity), { part: true });
    // By its identity, so that no picture is taken for another call's where that file was removed.
    const folder = join(directory, digest(identity));
    await makeFolder(folder);
    return new KeptPictures(folder);
  }

  /** The pictures of these places; null where one is not there whole, in that size. */
  async read(
    places: readonly number[],
    size: Readonly<{ width: number; height: number }>,
  ): Promise<Image[] | null> {
    const wanted = places.map((place) => ({ path: this.path(place) }));
    if ((await findMissing(wanted, size)).length > 0) return null;
    return await Promise.all(wanted.map(({ path }) => Image.load(path)));
  }

  async save(places: readonly number[], images: readonly Image[]): Promise<void> {
    for (const [i, place] of places.entries()) await images[i]!.save(this.path(place));
  }

  private path(place: number): string {
    return join(this.folder, `${place}.png`);
  }
}
