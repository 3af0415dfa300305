import { join } from "node:path";
import { readFrontMatter } from "../files/front-matter";
import { hubPlace } from "../files/hub-place";
import { readText } from "../files/json-file";
import { MODEL_CARD_FILE } from "./model-card";

/** A model's licence, as the cards of hubs name it. */
export interface Licence {
  /** "creativeml-openrail-m", "mit", "other". */
  license: string;
  /** Of a licence of another kind. */
  license_name?: string;
  license_link?: string;
}

/** What a base's own card and place tell of it. */
export interface BaseCard {
  licence?: Licence;
  /** Its name on the hub, USER/MODEL, where it lies in the hub's cache. */
  hubName?: string;
}

/** @param base path of a checkpoint; of a single file nothing is told, as a README beside it may be anyone's */
export async function readBaseCard(base: string): Promise<BaseCard> {
  const hubName = hubPlace(base)?.repository;
  const card = await readText(join(base, MODEL_CARD_FILE)).catch(() => "");
  const { license, license_name, license_link } = readFrontMatter(card);
  return {
    ...(hubName === undefined ? {} : { hubName }),
    ...(license === undefined
      ? {}
      : {
          licence: {
            license,
            ...(license_name === undefined ? {} : { license_name }),
            ...(license_link === undefined ? {} : { license_link }),
          },
        }),
  };
}
