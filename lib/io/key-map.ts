/** Renames keys in both directions by a table of prefixes of whole dotted parts; the longest that fits is taken. */
export class KeyMap {
  private readonly forward: Map<string, string>;
  private readonly backward: Map<string, string>;

  /** @param pairs [prefix there, prefix here]; each prefix stands once on its side */
  constructor(pairs: readonly (readonly [string, string])[]) {
    this.forward = new Map(pairs);
    this.backward = new Map(pairs.map(([there, here]) => [here, there]));
  }

  /** The key here for a key there; null when no prefix fits. */
  toHere(key: string): string | null {
    return rename(key, this.forward);
  }

  /** The key there for a key here; null when no prefix fits. */
  toThere(key: string): string | null {
    return rename(key, this.backward);
  }
}

function rename(key: string, table: ReadonlyMap<string, string>): string | null {
  for (let end = key.length; end > 0; end = key.lastIndexOf(".", end - 1)) {
    const prefix = table.get(key.slice(0, end));
    if (prefix !== undefined) return prefix + key.slice(end);
  }
  return null;
}
