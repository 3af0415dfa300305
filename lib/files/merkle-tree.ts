import { createHash } from "node:crypto";

/** What a leaf's content begins with before it is hashed, and a node's: else a node could pass for a leaf. */
export const LEAF_PREFIX = Uint8Array.of(0);
const NODE_PREFIX = Uint8Array.of(1);

/** SHA-256 of a leaf, RFC 6962 section 2.1: of a zero byte and its content. */
export function leafHash(content: Uint8Array): string {
  return createHash("sha256").update(LEAF_PREFIX).update(content).digest("hex");
}

/**
 * Root of the hash tree of RFC 6962 (section 2.1) over leaves in their order: SHA-256, split at the largest power of two
 * below their number; of none, the hash of nothing.
 * @param leaves hashes of the leaves, 64 hexadecimal digits each
 * @returns 64 hexadecimal digits
 */
export function merkleRoot(leaves: readonly string[]): string {
  if (leaves.length === 0) return createHash("sha256").digest("hex");
  let level = leaves.map((leaf) => Buffer.from(leaf, "hex"));
  // Level by level: a node without a neighbour goes up as it is, which is the same tree as splitting from above.
  while (level.length > 1)
    level = Array.from({ length: Math.ceil(level.length / 2) }, (_, i) => {
      const [left, right] = [level[2 * i]!, level[2 * i + 1]];
      if (right === undefined) return left;
      return createHash("sha256").update(NODE_PREFIX).update(left).update(right).digest();
    });
  return level[0]!.toString("hex");
}
