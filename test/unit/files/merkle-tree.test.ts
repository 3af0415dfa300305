import { createHash } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { LEAF_PREFIX, leafHash, merkleRoot } from "../../../lib/files/merkle-tree";
import { sha256File } from "../../../lib/files/sha256-file";
import { temporaryDirectory } from "../../support/temporary-directory";

/** The leaves of Certificate Transparency's own test of RFC 6962. */
const LEAVES = [
  "",
  "00",
  "10",
  "2021",
  "3031",
  "40414243",
  "5051525354555657",
  "606162636465666768696a6b6c6d6e6f",
].map((hex) => Buffer.from(hex, "hex"));
const ROOTS = [
  "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
  "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
  "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
  "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
  "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
  "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
  "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
  "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
  "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
];

/** MTH as section 2.1 of RFC 6962 defines it, from above. */
function byDefinition(contents: readonly Buffer[]): Buffer {
  const sha256 = (...parts: Buffer[]): Buffer => createHash("sha256").update(Buffer.concat(parts)).digest();
  if (contents.length === 0) return sha256();
  if (contents.length === 1) return sha256(Buffer.from([0]), contents[0]!);
  let k = 1;
  while (2 * k < contents.length) k *= 2;
  return sha256(Buffer.from([1]), byDefinition(contents.slice(0, k)), byDefinition(contents.slice(k)));
}

describe("merkleRoot", () => {
  it.each(ROOTS.map((root, count) => [count, root] as const))(
    "of %i leaves is the published one",
    (count, root) => {
      expect(merkleRoot(LEAVES.slice(0, count).map(leafHash))).toBe(root);
    },
  );

  it("is what the RFC's definition gives, for every number of leaves", () => {
    const contents = Array.from({ length: 70 }, (_, i) => Buffer.from(`picture ${i}`));
    for (let count = 0; count <= contents.length; count++) {
      const some = contents.slice(0, count);
      expect(merkleRoot(some.map(leafHash))).toBe(byDefinition(some).toString("hex"));
    }
  });

  it("tells a node from a leaf of the same bytes", () => {
    const [a, b] = [leafHash(LEAVES[1]!), leafHash(LEAVES[2]!)];
    const joined = Buffer.concat([Buffer.from(a, "hex"), Buffer.from(b, "hex")]);
    expect(merkleRoot([leafHash(joined)])).not.toBe(merkleRoot([a, b]));
  });
});

describe("a leaf's hash", () => {
  it("is the same of a file that is read in chunks", async () => {
    const path = join(temporaryDirectory(), "picture.png");
    const content = Buffer.alloc(5 * 2 ** 20, "pixels");
    writeFileSync(path, content);
    expect(await sha256File(path, { prefix: LEAF_PREFIX })).toBe(leafHash(content));
    expect(await sha256File(path)).toBe(createHash("sha256").update(content).digest("hex"));
  });
});
