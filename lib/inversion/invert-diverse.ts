import { nonEmptyString } from "../check";
import type { StableDiffusion } from "../diffusion/stable-diffusion";
import { noGrad } from "../runtime/grad-mode";
import type { Random } from "../runtime/random";
import { scope } from "../runtime/scope";
import { tokenEmbeddings } from "./concept-embedding";
import { BandProjection, checkBands, DIVERSE_BANDS, type CosineBand } from "./cosine-band";
import { Inversion } from "./inversion";
import { integer, number, text } from "../options/kinds";
import type { Given, Option } from "../options/option";
import { readRange } from "../options/read";
import type { InversionOptions } from "./inversion-options";
import { learnEmbeddings, type EmbeddingTask } from "./learn-embeddings";
import { similarityPenalty } from "./similarity";

const bands: Option<readonly CosineBand[]> = {
  default: DIVERSE_BANDS,
  help: "cosines FROM:TO between which embeddings are held; repeatable",
  check: (_name, value) => checkBands(value),
  flag: { form: "value", word: "from:to", repeatable: true, read: (texts) => texts.map(readRange) },
};

/** Options that set the members of a set apart. */
export function diversity() {
  return {
    /** Cosines [from, to] between which members are held. Default `DIVERSE_BANDS`, ten of them. */
    bands,
    /** Members in each band. Default 1. */
    perBand: integer(1, "embeddings in each band", { from: 1 }),
    /** Weight of the members' mutual similarity in the loss. >= 0, default 0.1. */
    similarityWeight: number(0.1, "weight of the embeddings' mutual similarity in the loss", { from: 0 }),
    /** Cosine of two members from which on it costs, δ. Default 0.5. */
    similarityMargin: number(0.5, "cosine of two embeddings from which on it costs", { from: -1, to: 1 }),
  };
}

const OPTIONS = Object.freeze({
  /** What the pictures show: cosines are with the mean of its own tokens' embeddings. */
  concept: text(undefined, "what the pictures show"),
  ...diversity(),
});

/** Options of `invertDiverse`. */
export interface InvertDiverseOptions extends InversionOptions, Given<ReturnType<typeof diversity>> {
  /** What the pictures show: cosines are with the mean of its own tokens' embeddings. */
  concept: string;
}

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
  nonEmptyString("concept", options.concept);
  const concept = options.concept;
  let held: readonly CosineBand[] = [];
  const learned = await learnEmbeddings(model, options, "invertDiverse", OPTIONS, (loaded, o, random) => {
    held = o.bands.flatMap((band) => Array<CosineBand>(o.perBand).fill(band));
    return diverseTask(loaded, concept, held, o, random);
  });
  const { members, token, history, record, widths } = learned;
  return members.map((embeddings, index) => {
    const own = { ...record, concept, band: held[index]! };
    return new Inversion({ token: numbered(token, index + 1), embeddings, widths, history, record: own });
  });
}

async function diverseTask(
  model: StableDiffusion,
  concept: string,
  held: readonly CosineBand[],
  o: { vectors: number; similarityWeight: number; similarityMargin: number },
  random: Random,
): Promise<EmbeddingTask> {
  const { vectors, similarityWeight, similarityMargin } = o;
  const centre = await scope(() =>
    noGrad(async () => (await tokenEmbeddings(model, "concept", concept)).mean(0)),
  );
  const projection = await BandProjection.create(centre, held, vectors, random.at("aside"));
  return {
    start: scope(() => projection.start(centre.square().sum().sqrt()).to("float32")),
    constraint: {
      penalty: (members) =>
        held.length === 1 || similarityWeight === 0
          ? null
          : similarityPenalty(members, similarityMargin).mul(similarityWeight),
      project: (members) => projection.project(members),
    },
  };
}

/** A token's name with a number, within its angle brackets where it has them. */
function numbered(token: string, index: number): string {
  return token.endsWith(">") ? `${token.slice(0, -1)}-${index}>` : `${token}-${index}`;
}
