const LARGEST_BYTES = 60e6;

export const NEEDED = [
  "package.json",
  "README.md",
  "CHANGELOG.md",
  "LICENSE",
  "THIRD-PARTY-NOTICES.txt",
  "CMakeLists.txt",
  "dist/internal.js",
  "dist/index.js",
  "dist/index.mjs",
  "dist/index.d.ts",
  "dist/index.d.mts",
  "dist/cli.js",
  "dist/charts.js",
  "models/pocket/LICENSE",
  "models/pocket/model_index.json",
  "models/pocket-xl/LICENSE",
  "models/pocket-xl/model_index.json",
  "prebuilds/linux-x64/kpop_loader.napi.glibc.node",
  "prebuilds/linux-x64/kpop_native.napi.glibc.node",
];

const ALLOWED = [
  /^dist\/(?:internal|cli)\.js\.map$/,
  /^models\/pocket(?:-xl)?\/(?:[\w-]+\/)?[\w-]+\.(?:json|md|txt|safetensors)$/,
  /^native\/(?:[\w-]+\/)?\w+\.(?:cpp|h|inc)$/,
  /^cmake\/\w+\.cmake$/,
  /^integrations\/(?:README\.md|[\w-]+\/\w+\.py)$/,
];

/** What a tarball lacks, or holds without need; one sentence each. */
export function contentFaults({ bytes, files }) {
  const faults = NEEDED.filter((path) => !files.includes(path)).map((path) => `it lacks ${path}`);
  const strangers = files.filter(
    (path) => !NEEDED.includes(path) && !ALLOWED.some((pattern) => pattern.test(path)),
  );
  for (const path of strangers) faults.push(`it holds ${path}, which nobody needs`);
  if (bytes > LARGEST_BYTES)
    faults.push(`it has ${(bytes / 1e6).toFixed(1)} MB, more than ${LARGEST_BYTES / 1e6} MB`);
  return faults;
}
