import { Lora } from "../diffusion/lora";
import type { StableDiffusion, TrainedNetwork } from "../diffusion/stable-diffusion";
import { KpopError } from "../errors";
import { selectParameters } from "../models/parameter-selector";
import { Random } from "../runtime/random";
import { changedBy } from "./method";
import type { ErasureParts } from "./parts";
import type { Request } from "./request";

/** The weights that a run may change. */
export interface Chosen {
  readonly network: TrainedNetwork;
  /** Keys of that network. */
  readonly trained: readonly string[];
}

/** What a request may change of a model. @throws INVALID_ARGUMENT where that is nothing */
export function chosenWeights({ method, own, rank }: Request, base: StableDiffusion): Chosen {
  const changes = changedBy(method, own);
  const network = changes?.network ?? "unet";
  const chosen = changes === null ? [] : selectParameters(changes.parameters, base[network].parameterNames());
  return { network, trained: rank === null ? chosen : matrices(chosen, base) };
}

/** An erasure's parts, and the model that is to be its result: the student, without what stands in for its weights. */
export interface OpenedParts extends ErasureParts {
  readonly result: StableDiffusion;
}

/** Copies what is trained and shares everything else. @param neighbours words that are kept */
export async function openParts(
  base: StableDiffusion,
  { concepts, neighbours: { choose }, preserve, rank, run: { seed } }: Request,
  { network, trained }: Chosen,
  neighbours: readonly string[],
): Promise<OpenedParts> {
  const result = await base.derive(new Set(trained), "float32", network, []);
  const teacher = await base.derive(new Set(), undefined, "unet", []);
  const lora = rank === null ? null : await Lora.start(result, rank, new Random(seed).at("lora"), trained);
  const student = lora?.on(result, teacher.unet) ?? result;
  const adversarial = choose === "adversarial";
  return {
    base,
    result,
    teacher,
    student,
    network,
    trained,
    lora,
    concepts,
    preserve,
    neighbours,
    adversarial,
  };
}

/** Those that a LoRA can change. @throws INVALID_ARGUMENT where there are none */
function matrices(keys: readonly string[], { unet }: StableDiffusion): string[] {
  const shapes = unet.parameterShapes();
  const found = keys.filter((key) => shapes[key]!.length > 1);
  if (found.length > 0) return found;
  throw new KpopError(
    "INVALID_ARGUMENT",
    `Expected parameters to select matrices or convolutions, which alone a LoRA changes, but all ${keys.length} that it selects are biases or scales of norms; train them as "weights"`,
  );
}
