import { join } from "node:path";
import { digest } from "../diffusion/identity";
import { writeFileAtomically } from "../files/atomic";
import { formatJson, readTextIfThere } from "../files/json-file";
import { makeFolder } from "../files/make-folder";
import { sha256File } from "../files/sha256-file";

/** What the pictures of an input have shown. */
export interface MeasuredInput {
  hits: number;
  /** UNet evaluations that the pictures took. */
  evaluations: number;
  /** SHA-256 of the pictures that were saved, by the names of their files. */
  pictures: Record<string, string>;
}

/** Inputs that were measured, in a file each, so that another process or a resumed one finds them. */
export class MeasuredInputs {
  /**
   * @param state folder of the attack's state
   * @param run all that the measured pictures depend on beside the input, as JSON holds it
   * @param options.resume whether what is there is taken
   * @param options.pictures folder that the pictures are saved in, if any
   */
  constructor(
    private readonly state: string,
    private readonly run: unknown,
    private readonly options: { resume: boolean; pictures: string | undefined },
  ) {}

  /** What is kept of an input; measures it where nothing is, or a picture of it has gone. */
  async find(
    input: Readonly<Record<string, unknown>>,
    measure: () => Promise<MeasuredInput>,
  ): Promise<MeasuredInput> {
    const folder = join(this.state, "measured");
    const path = join(folder, `${digest([this.run, input])}.json`);
    const found = this.options.resume ? await readTextIfThere(path) : null;
    if (found !== null) {
      const kept = JSON.parse(found) as MeasuredInput;
      if (await this.areThere(kept)) return kept;
    }
    const measured = await measure();
    await makeFolder(folder);
    await writeFileAtomically(path, formatJson(measured));
    return measured;
  }

  private async areThere({ pictures }: MeasuredInput): Promise<boolean> {
    const { pictures: folder = "" } = this.options;
    for (const [name, sha256] of Object.entries(pictures))
      if ((await sha256File(join(folder, name)).catch(() => null)) !== sha256) return false;
    return true;
  }
}
