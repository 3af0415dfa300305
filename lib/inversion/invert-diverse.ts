import { finite, integer, knownKeys, nonEmptyString } from "../check";
import type { StableDiffusion } from "../diffusion/stable-diffusion";
import { noGrad } from "../runtime/grad-mode";
import type { Random } from "../runtime/random";
import { scope } from "../runtime/scope";
import { tokenEmbeddings } from "./concept-embedding";
import { BandProjection, checkBands, DIVERSE_BANDS, type CosineBand } from "./cosine-band";
import { Inversion } from "./inversion";
import { INVERSION_OPTIONS, type InversionOptions } from "./inversion-options";
import { learnEmbeddings, type EmbeddingTask } from "./learn-embeddings";
import { similarityPenalty } from "./similarity";

/** Options of `invertDiverse`. */
export interface InvertDiverseOptions extends InversionOptions {
  /** What the pictures show: cosines are with the mean of its own tokens' embeddings. */
  concept: string;
  /** Cosines [from, to] between which members are held. Default `DIVERSE_BANDS`, ten of them. */
  bands?: readonly CosineBand[];
  /** Members in each band. Default 1. */
  perBand?: number;
  /** Weight of the members' mutual similarity in the loss. >= 0, default 0.1. */
  similarityWeight?: number;
  /** Cosine of two members from which on it costs, δ. Default 0.5. */
  similarityMargin?: number;
}

interface Diversity {
  readonly concept: string;
  /** One for each member. */
  readonly bands: readonly CosineBand[];
  readonly similarityWeight: number;
  readonly similarityMargin: number;
}

/** What sets the members apart. */
export type DiversityOptions = Required<
  Pick<InvertDiverseOptions, "bands" | "perBand" | "similarityWeight" | "similarityMargin">
>;

/** What `invertDiverse` does unless told otherwise, beside `INVERSION_DEFAULTS`. */
export const DIVERSITY_DEFAULTS: Readonly<DiversityOptions> = Object.freeze({
  bands: DIVERSE_BANDS,
  perBand: 1,
  similarityWeight: 0.1,
  similarityMargin: 0.5,
});
const OWN = ["concept", ...Object.keys(DIVERSITY_DEFAULTS)];

/**
 * Diverse Inversion (arXiv 2404.03631, figure 1; the constraint is a reconstruction): a set of embeddings that all
 * minimise the loss of `invert`, as unlike the concept's own embedding, and each other, as their bands ask.
 *
 * After every step each embedding is turned back into its band (its length stays); the loss has the weighted mean over
 * pairs of max(0, cos(v_i, v_j) − δ)² beside the mean of the members' own. Members start at seeded directions in the
 * middle of their bands, as long as the concept's embedding.
 * @returns the members, band by band; their tokens are numbered: "<inverted>" gives "<inverted-1>", "<inverted-2>", …
 * @throws what `invert` throws; INVALID_ARGUMENT for a band that contains no point
 */
export async function invertDiverse(
  model: StableDiffusion | string,
  options: InvertDiverseOptions,
): Promise<Inversion[]> {
  knownKeys("the options of invertDiverse", options, [...INVERSION_OPTIONS, ...OWN]);
  const diversity = parseDiversity(options);
  const learned = await learnEmbeddings(model, options, (loaded, { vectors }, random) =>
    diverseTask(loaded, vectors, diversity, random),
  );
  const { members, token, history, record } = learned;
  return members.map((embeddings, index) => {
    const { concept, bands } = diversity;
    const own = { ...record, concept, band: bands[index]! };
    return new Inversion({ token: numbered(token, index + 1), embeddings, history, record: own });
  });
}

function parseDiversity(options: InvertDiverseOptions): Diversity {
  const { bands, perBand, similarityWeight, similarityMargin } = parseDiversityOptions(options);
  return {
    concept: nonEmptyString("concept", options.concept),
    bands: bands.flatMap((band) => Array<CosineBand>(perBand).fill(band)),
    similarityWeight,
    similarityMargin,
  };
}

/** @param given other keys are not looked at   @throws INVALID_ARGUMENT naming the option */
export function parseDiversityOptions(given: Partial<DiversityOptions>): DiversityOptions {
  const { bands, perBand, similarityWeight, similarityMargin } = { ...DIVERSITY_DEFAULTS, ...given };
  return {
    bands: checkBands(bands),
    perBand: integer("perBand", perBand, 1),
    similarityWeight: finite("similarityWeight", similarityWeight, 0),
    similarityMargin: finite("similarityMargin", similarityMargin, -1, 1),
  };
}

async function diverseTask(
  model: StableDiffusion,
  vectors: number,
  { concept, bands, similarityWeight, similarityMargin }: Diversity,
  random: Random,
): Promise<EmbeddingTask> {
  const centre = await scope(() =>
    noGrad(async () => (await tokenEmbeddings(model, "concept", concept)).mean(0)),
  );
  const projection = await BandProjection.create(centre, bands, vectors, random.at("aside"));
  const start = scope(() => projection.start(centre.square().sum().sqrt()).to("float32"));
  centre.dispose();
  return {
    start,
    identity: { concept, bands, similarityWeight, similarityMargin },
    constraint: {
      penalty: (members) =>
        bands.length === 1 || similarityWeight === 0
          ? null
          : similarityPenalty(members, similarityMargin).mul(similarityWeight),
      project: (members) => projection.project(members),
      dispose: () => projection.dispose(),
    },
  };
}

/** A token's name with a number, within its angle brackets where it has them. */
function numbered(token: string, number: number): string {
  return token.endsWith(">") ? `${token.slice(0, -1)}-${number}>` : `${token}-${number}`;
}
