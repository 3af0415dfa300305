import { basename, dirname, resolve } from "node:path";
import { methodNamed, METHOD_NAMES } from "../erasure/registry";
import { jsonDifference } from "../files/json-difference";
import { lookAt, type Look } from "./page/palette";
import type { EvaluationSource } from "./evaluations";
import type { KnownIntervention, ModelMark } from "./shapes";
import type { AttackSource, AttributionSource, ErasureSource, Source } from "./sources";

/** A model that a page is about, with all that is known of it. */
export interface ReportedModel {
  /** What the page calls it, of this model alone. */
  title: string;
  look: Look;
  /** What made it; null of the original, and of a model whose erasure was not given. */
  erasure: ErasureSource | null;
  /** Measured without a key, and with one. */
  plain: EvaluationSource[];
  keyed: EvaluationSource[];
  attacks: AttackSource[];
  attributions: AttributionSource[];
}

/**
 * The models that folders are about: first the original that was erased from, then the erasures in their order, then
 * others. An evaluation or an attack is of the model whose weights it was made with, wherever its folder lies.
 */
export function modelsOf(sources: readonly Source[]): ReportedModel[] {
  const erasures = sources.filter((source) => source.kind === "erasure");
  const others: { id: string; name: string | null; model: ReportedModel }[] = [];
  const model = (title: string, look: Look, erasure: ErasureSource | null): ReportedModel => ({
    ...{ title, look, erasure },
    ...{ plain: [], keyed: [], attacks: [], attributions: [] },
  });
  const original = model("Original", "original", null);
  const erased = titlesOf(erasures).map((title, index) => model(title, lookAt(index), erasures[index]!));
  for (const source of sources) {
    if (source.kind === "erasure") continue;
    const mark = source.kind === "attack" ? source.attack.model : source.model;
    const owner =
      erased.find(({ erasure }) => isResult(mark, erasure!)) ??
      (erasures.some((erasure) => isBase(mark, erasure)) ? original : undefined) ??
      stranger(source, mark);
    if (source.kind === "attack") owner.attacks.push(source);
    else if (source.kind === "attribution") owner.attributions.push(source);
    else owner[source.withKey ? "keyed" : "plain"].push(source);
  }
  const models = [original, ...erased, ...others.map((other) => other.model)];
  return models.filter((one) => one.erasure !== null || isMeasured(one));

  /** A model of which nothing but this is known; those that were compared under names of their own are several. */
  function stranger(source: Exclude<Source, ErasureSource>, mark: ModelMark): ReportedModel {
    const { weights, changes, interventions } = mark;
    const id = JSON.stringify([[...weights].sort(), changes, interventions]);
    const name = source.kind === "evaluation" && !source.withKey ? source.name : null;
    const known = others.find((one) => one.id === id && (name === null || (one.name ?? name) === name));
    if (known !== undefined) {
      known.name ??= name;
      return known.model;
    }
    const given = name ?? source.folder;
    const titles = [original, ...erased, ...others.map((other) => other.model)].map(({ title }) => title);
    const found = model(freeTitle(given, titles), lookAt(erasures.length + others.length), null);
    others.push({ id, name, model: found });
    return found;
  }
}

/** What a path ends in, or more of it where another is called so. */
function freeTitle(path: string, taken: readonly string[]): string {
  const titles = [basename(resolve(path)), path, ...taken.map((_, i) => `${path} (${i + 2})`)];
  return titles.find((title) => !taken.includes(title)) ?? path;
}

function isMeasured({ plain, keyed, attacks, attributions }: ReportedModel): boolean {
  return plain.length + keyed.length + attacks.length + attributions.length > 0;
}

/** Methods' names, with their folders' where methods are the same, and with the folders above where those are too. */
function titlesOf(erasures: readonly ErasureSource[]): string[] {
  const methods = erasures.map(({ manifest: { method } }) =>
    METHOD_NAMES.includes(method as never) ? methodNamed(method).title : method,
  );
  const once = (names: readonly string[], index: number): boolean =>
    names.filter((name) => name === names[index]).length === 1;
  const places = erasures.map(({ folder }) => resolve(folder));
  const short = methods.map((method, index) => `${method}, ${basename(places[index]!)}`);
  return methods.map((method, index) => {
    if (once(methods, index)) return method;
    if (once(short, index)) return short[index]!;
    return `${method}, ${basename(dirname(places[index]!))}/${basename(places[index]!)}`;
  });
}

/** Whether pictures are of what an erasure saved: of all its files, and of nothing but those and its base's. */
function isResult(mark: ModelMark, { manifest, interventions }: ErasureSource): boolean {
  const own = Object.values(manifest.outputs);
  const known = new Set([...own, ...Object.values(manifest.inputs)]);
  return (
    mark.changes === null &&
    own.length > 0 &&
    own.every((hash) => mark.weights.includes(hash)) &&
    mark.weights.every((hash) => known.has(hash)) &&
    sameInterventions(mark.interventions, interventions)
  );
}

/** Whether pictures are of what was erased from, whose interventions are the first of the result's. */
function isBase(mark: ModelMark, { manifest: { inputs }, interventions }: ErasureSource): boolean {
  return (
    mark.changes === null &&
    [...mark.weights].sort().join() === Object.values(inputs).sort().join() &&
    sameInterventions(mark.interventions, interventions.slice(0, mark.interventions.length))
  );
}

function sameInterventions(
  some: readonly KnownIntervention[],
  others: readonly KnownIntervention[],
): boolean {
  const plain = (of: readonly KnownIntervention[]) => of.map(({ name, settings }) => ({ name, settings }));
  return jsonDifference(plain(some), plain(others)) === null;
}
