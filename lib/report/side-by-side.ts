import type { EvaluatedPicture } from "../evaluation/evaluation";
import { GROUPS, groupOfClass, subjectOf, type GroupName } from "./groups";
import type { Measured } from "./measured";
import { grid, text, type GridRow, type Section, type Shot } from "./page/blocks";
import type { PictureReader } from "./pictures";

/** What models were asked for alike: a prompt and a seed, whose noise all began with. */
interface Request {
  group: GroupName;
  /** Class, or that of another domain. */
  subject: string | null;
  prompt: string;
  seed: number;
  /** What a prompt file calls it. */
  case: string | undefined;
  /** Folder of the evaluation that asked first. */
  folder: string;
  /** Columns that have it. */
  columns: Set<number>;
}

/** One column: the evaluations of a model, and where in them the pictures of requests are. */
interface Column {
  title: string;
  measured: readonly Measured[];
  places: readonly ReadonlyMap<string, number>[];
}

/** The same noise in a row: before, after, and with the key. @param count pictures of each class, and of those without */
export async function picturesSection(
  all: readonly Measured[],
  count: number,
  reader: PictureReader,
): Promise<Section | null> {
  const columns = columnsOf(all);
  const requests = requestsOf(all, columns);
  const prompts = new Map<string, Set<string>>();
  for (const { group, subject, prompt } of requests.values())
    if (subject !== null)
      prompts.set(group + subject, (prompts.get(group + subject) ?? new Set()).add(prompt));
  const sections = new Map<GroupName, GridRow[]>();
  for (const [key, request] of shownOf(requests, count)) {
    const pictures: (Shot | null)[] = [];
    for (const column of columns) pictures.push(await shotOf(column, key, request.group, reader));
    if (pictures.every((picture) => picture === null)) continue;
    // A class whose prompts are one is told by its name.
    const named = request.subject !== null && prompts.get(request.group + request.subject)!.size === 1;
    sections.set(request.group, [...(sections.get(request.group) ?? []), { ...headOf(request, named), pictures }]); // prettier-ignore
  }
  if (sections.size === 0) return null;
  const alone = sections.size === 1 && sections.has("none");
  const gone = reader.missing === 0 ? [] : [text(`${reader.missing} of the pictures are no longer where they were measured.`)]; // prettier-ignore
  return {
    id: "pictures",
    title: "Pictures",
    blocks: [
      text(introduction(all, requests.size, [...sections.values()].flat().length)),
      ...gone,
      grid({
        caption: "Asked for the same, by every model",
        columns: columns.map(({ title }) => title),
        looks: columns.map(({ measured }) => measured[0]!.look),
        sections: (Object.keys(GROUPS) as GroupName[]).flatMap((group) => {
          const rows = sections.get(group);
          return rows === undefined ? [] : [{ title: alone ? "" : GROUPS[group], rows }];
        }),
        filters: [{ key: "group", title: "Show" }, { key: "class", title: "Class" }],
        choose: true,
      }),
    ],
  }; // prettier-ignore
}

function introduction(all: readonly Measured[], requests: number, shown: number): string {
  const pictures = all.flatMap(({ source }) => source.evaluation.pictures);
  const ranked = pictures.some((one) => one.class !== undefined || one.crossClass !== undefined);
  const words = all.some(({ source }) => source.words.some((own) => own.length > 0));
  const below = [
    ...(ranked ? ["whether the classifier sees its class first, or on which place it has it"] : []),
    ...(words ? ["what metrics note of it"] : []),
  ];
  return [
    "Each row starts from the same noise.",
    ...(below.length === 0
      ? []
      : [`Below a picture stands ${below.join(", and ")}; green is as it should be.`]),
    ...(shown < requests ? [`${shown} of ${requests} rows are shown.`] : []),
    "Press a picture to see its row large.",
  ].join(" ");
}

/** A column for each title. */
function columnsOf(all: readonly Measured[]): Column[] {
  const titles = [...new Set(all.map(({ title }) => title))];
  return titles.map((title) => {
    const measured = all.filter((one) => one.title === title);
    const places = measured.map(
      ({ source }) => new Map(source.evaluation.pictures.map((picture, i) => [keyOf(picture), i])),
    );
    return { title, measured, places };
  });
}

function keyOf(picture: EvaluatedPicture): string {
  return JSON.stringify([subjectOf(picture)?.toLowerCase(), picture.prompt, picture.seed]);
}

/** All that was asked for, in the order of the first evaluations that did. */
function requestsOf(all: readonly Measured[], columns: readonly Column[]): Map<string, Request> {
  const requests = new Map<string, Request>();
  for (const [place, { measured }] of columns.entries())
    for (const { source } of measured)
      for (const picture of source.evaluation.pictures) {
        const { class: own, prompt, seed } = picture;
        const group = own === undefined ? (picture.crossClass === undefined ? "none" : "cross") : groupOfClass(all, own); // prettier-ignore
        const key = keyOf(picture);
        const request = requests.get(key) ?? {
          ...{ group, subject: subjectOf(picture), prompt, seed, case: picture.case, folder: source.folder },
          columns: new Set(),
        };
        request.columns.add(place);
        requests.set(key, request);
      }
  return requests;
}

/** So many of each evaluation's classes, those first that most models have. */
function shownOf(requests: ReadonlyMap<string, Request>, count: number): [string, Request][] {
  const taken = new Map<string, number>();
  const chosen = new Set<string>();
  const byModels = [...requests].sort(([, a], [, b]) => b.columns.size - a.columns.size);
  for (const [key, { group, subject, folder }] of byModels) {
    const of = JSON.stringify([group, subject, folder]);
    const before = taken.get(of) ?? 0;
    if (before < count) chosen.add(key);
    taken.set(of, before + 1);
  }
  return [...requests].filter(([key]) => chosen.has(key));
}

/** @param named whether its class says what was asked for */
function headOf(
  { group, subject, prompt, seed, case: name }: Request,
  named: boolean,
): Omit<GridRow, "pictures"> {
  const note = [
    ...(named || subject === null ? [] : [subject]),
    ...(name === undefined ? [] : [`case ${name}`]),
    `seed ${seed}`,
  ];
  return {
    prompt: named ? subject! : prompt,
    note: note.join(", "),
    keys: { group: GROUPS[group], ...(subject === null ? {} : { class: subject }) },
  };
}

async function shotOf(
  { measured, places }: Column,
  key: string,
  group: GroupName,
  reader: PictureReader,
): Promise<Shot | null> {
  for (const [i, one] of measured.entries()) {
    const place = places[i]!.get(key);
    if (place === undefined) continue;
    const { evaluation, folderOf } = one.source;
    const picture = evaluation.pictures[place]!;
    const png = await reader.png(folderOf(picture), picture.path);
    if (png !== null) return { png, ...said(one, place, group) };
  }
  return null;
}

/** What stands below a picture: the first line, which is judged, and the others where it is large. */
function said({ source, withKey, erased }: Measured, place: number, group: GroupName): Omit<Shot, "png"> {
  const { rank, crossClass, clipScore } = source.evaluation.pictures[place]!;
  const words = source.words[place]!;
  // What is to go is to be there before, and with the key; of models that nothing is known of, nothing is said.
  const wanted = withKey || erased === false ? true : erased === null ? null : false;
  const own = group === "preserved" ? true : wanted;
  const found = (at: number, name = ""): string => name + (at === 1 ? "seen" : `place ${at}`);
  const lines: { text: string; good: boolean | null }[] = [
    ...(rank === undefined ? [] : [{ text: found(rank), good: own === null ? null : (rank === 1) === own }]),
    ...(crossClass === undefined
      ? []
      : [
          {
            text: found(crossClass.rank, rank === undefined ? "" : `${crossClass.name} `),
            good: crossClass.rank === 1,
          },
        ]),
    // Those that look for something first.
    ...[...words]
      .sort((a, b) => Number(b.seen !== undefined) - Number(a.seen !== undefined))
      .map(({ text: line, seen }) => ({
        text: line,
        good: seen === undefined || wanted !== false ? null : !seen,
      })),
    ...(clipScore === undefined ? [] : [{ text: `CLIP score ${clipScore.toFixed(1)}`, good: null }]),
  ];
  const [first, ...more] = lines;
  return {
    ...{ note: first?.text ?? "", good: first?.good ?? null },
    ...(more.length === 0 ? {} : { more: more.map((line) => line.text).join(" · ") }),
  };
}
