import { frontMatter, readFrontMatter } from "../../../lib/files/front-matter";

describe("frontMatter", () => {
  it("writes texts, numbers, lists and what they hold, and quotes what YAML would read otherwise", () => {
    const fields = {
      license: "mit",
      tags: ["a-b", "no", "1.5"],
      "model-index": [{ name: "x y", results: [{ value: 87.5 }, { value: 0 }] }],
      risky: 'a: "b" # c',
      line: "one\ntwo\u0085",
    };
    expect(frontMatter(fields)).toBe(`---
license: mit
tags:
  - a-b
  - "no"
  - "1.5"
model-index:
  - name: "x y"
    results:
      - value: 87.5
      - value: 0
risky: "a: \\"b\\" # c"
line: "one two "
---
`);
  });
});

describe("readFrontMatter", () => {
  it("finds the texts of the first level", () => {
    const card = `---
license: creativeml-openrail-m
license_name: 'it''s ours' # a comment
license_link: "https://a.example/#terms"
tags:
- first
- second
language: # of the prompts
  - en
extra: |-
  license: another
nested:
  license: inner
---
license: of the text
`;
    expect(readFrontMatter(card)).toEqual({
      license: "creativeml-openrail-m",
      license_name: "it's ours",
      license_link: "https://a.example/#terms",
      tags: "first",
      language: "en",
    });
    expect(readFrontMatter(card.replaceAll("\n", "\r\n"))).toMatchObject({
      license: "creativeml-openrail-m",
    });
  });

  it.each([
    ["no front matter", "# A model\n\n---\nlicense: mit\n---\n"],
    ["an unfinished one", "---\nlicense: mit\n"],
    ["nothing", ""],
  ])("finds nothing in %s", (_, text) => {
    expect(readFrontMatter(text)).toEqual({});
  });

  it("reads what was written", () => {
    const fields = { license: "other", license_name: 'a "quoted" one', base_model: "user/model" };
    expect(readFrontMatter(frontMatter(fields))).toEqual(fields);
  });
});
