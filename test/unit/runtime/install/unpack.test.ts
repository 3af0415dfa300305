import { spawnSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { unpackLibtorch } from "../../../../lib/runtime/install/unpack";
import { temporaryFolders } from "../../../support/temporary";
import { zip } from "../../../support/zip-writer";
import type { ZipFile } from "../../../support/zip-writer";

const folder = temporaryFolders();

function archive(files: ZipFile[], name = "torch-2.13.0-cp311-cp311-linux_x86_64.whl"): string {
  const path = join(folder(), name);
  writeFileSync(path, zip(files));
  return path;
}

function tree(root: string): string[] {
  return readdirSync(root, { recursive: true, withFileTypes: true })
    .filter((entry) => !entry.isDirectory())
    .map((entry) => join(entry.parentPath, entry.name).slice(root.length + 1))
    .sort();
}

const WHEEL: ZipFile[] = [
  { name: "torch/lib/libtorch.so", content: "t".repeat(70_000) },
  { name: "torch/lib/libc10.so", content: "c10", stored: true },
  { name: "torch/lib/empty.so", content: "" },
  { name: "torch/lib/libtorch_python.so", content: "for Python" },
  { name: "torch/include/ATen/ATen.h", content: "#pragma once\n" },
  { name: "torch/version.py", content: "__version__ = '2.13.0+cpu'\n" },
  { name: "torch/nn/modules/linear.py", content: "class Linear: ..." },
  { name: "torch-2.13.0.dist-info/licenses/LICENSE", content: "words" },
];

describe("unpacking a wheel", () => {
  it("gives libraries, headers, version and licences, and leaves Python's files", async () => {
    const target = folder();
    await unpackLibtorch(archive(WHEEL), target);
    expect(tree(target)).toEqual([
      "torch-2.13.0.dist-info/licenses/LICENSE",
      "torch/include/ATen/ATen.h",
      "torch/lib/empty.so",
      "torch/lib/libc10.so",
      "torch/lib/libtorch.so",
      "torch/version.py",
    ]);
    expect(readFileSync(join(target, "torch/lib/libtorch.so"), "utf8")).toBe("t".repeat(70_000));
    expect(readFileSync(join(target, "torch/lib/libc10.so"), "utf8")).toBe("c10");
  });

  it("gives files of more than a chunk as they were", async () => {
    const big = Buffer.alloc(3_000_000, "0123456789abcdef-");
    for (const stored of [true, false]) {
      const target = folder();
      await unpackLibtorch(archive([{ name: "torch/lib/libtorch_cpu.so", content: big, stored }]), target);
      expect(readFileSync(join(target, "torch/lib/libtorch_cpu.so")).equals(big)).toBe(true);
    }
  });

  it("reads what another program wrote", async () => {
    const source = folder();
    mkdirSync(join(source, "torch/lib"), { recursive: true });
    writeFileSync(join(source, "torch/lib/libtorch.so"), "by Python");
    const path = join(source, "torch.zip");
    spawnSync("python3", ["-m", "zipfile", "-c", path, "torch/"], { cwd: source });
    const target = folder();
    await unpackLibtorch(path, target);
    expect(readFileSync(join(target, "torch/lib/libtorch.so"), "utf8")).toBe("by Python");
  });

  it("puts a libtorch archive in the same place", async () => {
    const target = folder();
    const files = [
      { name: "libtorch/lib/libtorch.so", content: "t" },
      { name: "libtorch/build-version", content: "2.13.0+cpu" },
      { name: "libtorch/test/test_api", content: "t" },
    ];
    await unpackLibtorch(archive(files, "libtorch.zip"), target);
    expect(tree(target)).toEqual(["torch/build-version", "torch/lib/libtorch.so"]);
  });

  it("tells its progress in bytes", async () => {
    const seen: [number, number][] = [];
    await unpackLibtorch(archive(WHEEL), folder(), { onProgress: (done, total) => seen.push([done, total]) });
    const [, total] = seen[0]!;
    expect(seen.at(-1)).toEqual([total, total]);
    expect(seen.map(([done]) => done)).toEqual(seen.map(([done]) => done).sort((a, b) => a - b));
  });

  it("stops when asked", async () => {
    await expect(
      unpackLibtorch(archive(WHEEL), folder(), { signal: AbortSignal.abort() }),
    ).rejects.toMatchObject({ code: "ABORTED" });
  });

  it("stops within a file when asked", async () => {
    const target = folder();
    const abort = new AbortController();
    const content = Buffer.alloc(100_000_000);
    const unpacking = unpackLibtorch(archive([{ name: "torch/lib/libtorch_cpu.so", content }]), target, {
      signal: abort.signal,
    });
    setTimeout(() => abort.abort(), 20);
    await expect(unpacking).rejects.toMatchObject({ code: "ABORTED" });
    const { size } = statSync(join(target, "torch/lib/libtorch_cpu.so"), { throwIfNoEntry: false }) ?? {
      size: 0,
    };
    expect(size).toBeLessThan(content.length);
  });
});

describe("a hostile archive is refused before anything is written", () => {
  it.each(["../evil.so", "torch/lib/../../../evil.so", "/etc/evil", "torch\\..\\evil"])(
    "%s",
    async (name) => {
      const target = folder();
      const path = archive([WHEEL[0]!, { name, content: "evil" }]);
      await expect(unpackLibtorch(path, target)).rejects.toMatchObject({
        code: "IO_ERROR",
        message: expect.stringContaining("leads out of the folder"),
      });
      expect(tree(target)).toEqual([]);
    },
  );

  it("symbolic links in a zip", async () => {
    const target = folder();
    const link = { name: "torch/lib/libtorch.so", content: "/etc/passwd", mode: 0o120777 };
    await expect(unpackLibtorch(archive([link]), target)).rejects.toMatchObject({ code: "IO_ERROR" });
    expect(tree(target)).toEqual([]);
  });
});

describe("a damaged archive", () => {
  const whole = zip(WHEEL);

  it.each([0, 10, 200, whole.length - 10])("cut to %d bytes is refused", async (length) => {
    const path = join(folder(), "torch.whl");
    writeFileSync(path, whole.subarray(0, length));
    await expect(unpackLibtorch(path, folder())).rejects.toMatchObject({ code: "IO_ERROR" });
  });

  it("with a changed byte of content is refused", async () => {
    const bytes = zip([{ name: "torch/lib/libc10.so", content: "unchanged", stored: true }]);
    bytes[bytes.indexOf("unchanged")] = 0;
    const path = join(folder(), "torch.whl");
    writeFileSync(path, bytes);
    await expect(unpackLibtorch(path, folder())).rejects.toMatchObject({
      code: "IO_ERROR",
      message: expect.stringMatching(/checksum of torch\/lib\/libc10\.so/),
    });
  });

  it("whose content is longer than it says is refused", async () => {
    const bytes = zip([{ name: "torch/lib/libc10.so", content: "x".repeat(1000) }]);
    const record = bytes.indexOf("PK\x01\x02", 0, "latin1");
    bytes.writeUInt32LE(10, record + 24);
    const path = join(folder(), "torch.whl");
    writeFileSync(path, bytes);
    await expect(unpackLibtorch(path, folder())).rejects.toMatchObject({ code: "IO_ERROR" });
  });

  it("of another kind is named", async () => {
    const path = join(folder(), "torch.rar");
    writeFileSync(path, "");
    await expect(unpackLibtorch(path, folder())).rejects.toMatchObject({ code: "UNSUPPORTED_FORMAT" });
  });
});

describe("unpacking a tar", () => {
  function tar(make: (root: string) => void, ...args: string[]): string {
    const source = folder();
    make(source);
    const path = join(source, "libtorch.tar.gz");
    spawnSync("tar", ["-czf", path, ...args, "libtorch"], { cwd: source });
    return path;
  }

  const fill = (root: string) => {
    mkdirSync(join(root, "libtorch/lib"), { recursive: true });
    writeFileSync(join(root, "libtorch/lib/libtorch.so"), "t");
  };

  it("gives the libtorch in it, links within it kept", async () => {
    const target = folder();
    const path = tar((root) => {
      fill(root);
      symlinkSync("libtorch.so", join(root, "libtorch/lib/libtorch.so.1"));
    });
    await unpackLibtorch(path, target);
    expect(readFileSync(join(target, "torch/lib/libtorch.so.1"), "utf8")).toBe("t");
  });

  it("refuses links that lead out of it", async () => {
    const path = tar((root) => {
      fill(root);
      symlinkSync("/etc", join(root, "libtorch/lib/etc"));
    });
    await expect(unpackLibtorch(path, folder())).rejects.toMatchObject({ code: "IO_ERROR" });
  });

  it("refuses names that lead out of it", async () => {
    const target = folder();
    const path = tar(fill, "--transform", "s,^libtorch/lib/libtorch.so$,../evil,");
    await expect(unpackLibtorch(path, target)).rejects.toMatchObject({ code: "IO_ERROR" });
    expect(existsSync(join(target, "..", "evil"))).toBe(false);
  });
});
