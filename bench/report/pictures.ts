import type { Grid } from "../../lib/internal";
import { titleOf } from "../entrants";
import type { Picture, Results, TrialRecord } from "../results";

import { methodsIn, trialsOf } from "./records";

/** The pictures of the objects experiment's trials that keep some: the original, each method, and with the key. */
export function pictureGrid(results: Results): Grid | null {
  const records = trialsOf(results, "objects").filter(({ pictures }) => pictures !== undefined);
  const shown = records.find(({ spec }) => spec.erased.length > 0);
  if (shown === undefined) return null;
  const columns = methodsIn(results, records).flatMap((method) => columnsOf(records, method));
  const prompts = (shown.pictures ?? []).filter(({ withKey }) => !withKey);
  const rows = (group: Picture["group"]) =>
    prompts
      .filter((picture) => picture.group === group)
      .map(({ prompt, seed }) => ({
        prompt,
        pictures: columns.map(({ pictures }) => find(pictures, prompt, seed)),
      }));
  return {
    caption: `Split ${shown.spec.split}: the same noise in a row`,
    columns: columns.map(({ title }) => title),
    sections: [
      { title: "to go", rows: rows("erased") },
      { title: "to stay", rows: rows("preserved") },
    ].filter((section) => section.rows.length > 0),
  };
}

function columnsOf(
  records: readonly TrialRecord[],
  method: string,
): { title: string; pictures: readonly Picture[] }[] {
  const pictures = records.find(({ spec }) => spec.method === method)?.pictures ?? [];
  const plain = pictures.filter(({ withKey }) => !withKey);
  const recovered = pictures.filter(({ withKey }) => withKey);
  return [
    { title: titleOf(method), pictures: plain },
    ...(recovered.length === 0 ? [] : [{ title: `${titleOf(method)} + key`, pictures: recovered }]),
  ];
}

function find(pictures: readonly Picture[], prompt: string, seed: number): string | null {
  return pictures.find((picture) => picture.prompt === prompt && picture.seed === seed)?.png ?? null;
}
