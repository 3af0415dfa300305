/** Old and new names of the projections in the autoencoder's middle attention. */
const NAMES: Readonly<Record<string, string>> = {
  query: "to_q",
  key: "to_k",
  value: "to_v",
  proj_attn: "to_out.0",
};

const OLD =
  /^((?:encoder|decoder)\.mid_block\.attentions\.0\.)(query|key|value|proj_attn)(\.(?:weight|bias))$/;
const WEIGHT = /^(?:encoder|decoder)\.mid_block\.attentions\.0\.to_(?:q|k|v|out\.0)\.weight$/;

/** Today's name of an autoencoder tensor: SD-1.4's files still say `query`, `key`, `value`, `proj_attn`. */
export function modernVaeKey(key: string): string {
  return key.replace(OLD, (_, site: string, name: string, leaf: string) => site + NAMES[name] + leaf);
}

/** Whether the network holds this tensor as a linear weight (C, C) while files may hold a 1×1 convolution (C, C, 1, 1). */
export function isVaeAttentionWeight(key: string): boolean {
  return WEIGHT.test(key);
}

/** A stored shape as the network takes it. */
export function vaeShape(key: string, stored: readonly number[]): readonly number[] {
  const convolution = stored.length === 4 && stored[2] === 1 && stored[3] === 1;
  return convolution && isVaeAttentionWeight(key) ? stored.slice(0, 2) : stored;
}
