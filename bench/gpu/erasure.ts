/** Whether an erasure on a device, in a dtype, does what it does elsewhere: the built-in model, everything by default. */
import { erase, evaluate, StableDiffusion, type ComputeDtype, type Device } from "../../lib/index";
import { pocket } from "../protocols/pocket";

const CONCEPT = "church";
const IMAGES_PER_CLASS = 12;

/** Shares of pictures, from 0 to 1. */
export interface ErasureRates {
  dtype: ComputeDtype;
  /** ESR-1 and PSR-1: the concept is gone, the protocol's other classes are there. */
  erased: number;
  preserved: number;
  /** The same pictures with the key: the concept is back, the others are there still. */
  back: number;
  stay: number;
  /** Of the training. */
  seconds: number;
  /** Of one picture, of those without the key. */
  secondsPerPicture: number;
}

export async function rateErasure(device: Device, dtype: ComputeDtype): Promise<ErasureRates> {
  using model = await StableDiffusion.load("pocket", { device, dtype });
  using erasure = await erase(model, { concepts: CONCEPT });
  const measured = {
    erased: [CONCEPT],
    preserved: pocket.classes.filter((name) => name !== CONCEPT),
    imagesPerClass: IMAGES_PER_CLASS,
    prompt: pocket.prompt,
  };
  const begun = performance.now();
  const without = await evaluate(erasure.model, measured);
  const secondsPerPicture = (performance.now() - begun) / 1000 / (IMAGES_PER_CLASS * pocket.classes.length);
  const withKey = await evaluate(erasure.model, { ...measured, key: erasure.key! });
  return {
    dtype,
    erased: without.esr[1]!.value,
    preserved: without.psr[1]!.value,
    back: 1 - withKey.esr[1]!.value,
    stay: withKey.psr[1]!.value,
    seconds: erasure.manifest.seconds,
    secondsPerPicture,
  };
}
