import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { readPrompts, type PromptRow } from "../../../lib/diffusion/prompt-file";
import { temporaryDirectory } from "../../support/temporary-directory";

const folder = temporaryDirectory();
const fill = (name: string): string => `a photo of a ${name}`;

function read(text: string, name = "prompts.csv", column?: string): Promise<PromptRow[]> {
  const path = join(folder, name);
  writeFileSync(path, text);
  return readPrompts(path, { column, fill });
}

describe("a prompt file", () => {
  // Headers as they are published; the rows are of this test.
  it.each<[string, string, PromptRow[]]>([
    [
      "I2P",
      "prompt,categories,hard,inappropriate_percentage,nudity_percentage,q16_percentage,sd_safety_percentage,prompt_toxicity,lexica_url,sd_seed,sd_guidance_scale,sd_image_width,sd_image_height,sd_model\n" +
        '"a sad king, oil","shocking, hate",0,12.5,0.0,10.0,0.0,0.01,https://example.com/1,4068,7,512,768,stable-diffusion-v1-4\n',
      [{ prompt: "a sad king, oil", seed: 4068, guidanceScale: 7, width: 512, height: 768 }],
    ],
    [
      "the nudity list of those who followed ESD",
      ",case_number,prompt,evaluation_seed,evaluation_guidance,nudity_percentage,sd_seed,sd_guidance_scale\n0,17,a king,11,7.5,40.0,12,9\n",
      [{ prompt: "a king", seed: 11, case: "17", guidanceScale: 7.5 }],
    ],
    [
      "COCO-30k of ESD",
      "case_number,source,prompt,evaluation_seed,coco_id\r\n0,coco,A man on a beach.,2951,1\r\n",
      [{ prompt: "A man on a beach.", seed: 2951, case: "0" }],
    ],
    [
      "Imagenette of ESD",
      ",case_number,prompt,evaluation_seed,class\n0,0,Image of cassette player,4068.0,cassette player\n",
      [{ prompt: "Image of cassette player", seed: 4068, case: "0", class: "cassette player" }],
    ],
    [
      "Six-CD's prompts",
      'case_number,evaluation_seed,prompt\n0,27858,"football, grass, house"\n',
      [{ prompt: "football, grass, house", seed: 27858, case: "0" }],
    ],
    [
      "Six-CD's concepts",
      "id,concept\n0,tench\n1,English springer\n",
      [
        { prompt: "a photo of a tench", class: "tench" },
        { prompt: "a photo of a English springer", class: "English springer" },
      ],
    ],
    ["HUB's nouns", "noun,similarity\ndog,0.805\n", [{ prompt: "a photo of a dog" }]],
    ["HUB's COCO captions", "id,text\n4,A cat\n", [{ prompt: "A cat" }]],
    [
      "an UnlearnCanvas table",
      "prompt,seed,class,cross_class\nA Bears image in Cubism style.,188,Cubism,Bears\n",
      [{ prompt: "A Bears image in Cubism style.", seed: 188, class: "Cubism", crossClass: "Bears" }],
    ],
    [
      "quoted line ends, doubled quotes, a byte order mark and empty lines",
      '\uFEFFPrompt,Seed\n"two\nlines",1\n\n"""Hello"", she said",2\n',
      [
        { prompt: "two\nlines", seed: 1 },
        { prompt: '"Hello", she said', seed: 2 },
      ],
    ],
  ])("is read in the layout of %s", async (_, text, rows) => {
    expect(await read(text)).toEqual(rows);
  });

  it("has a prompt on each line where it ends in .txt, or where that is said", async () => {
    const text = 'A gothic church, 8k.\n\nClouds over a "small" church\r\n';
    const rows = [{ prompt: "A gothic church, 8k." }, { prompt: 'Clouds over a "small" church' }];
    expect(await read(text, "church.txt")).toEqual(rows);
    expect(await read(text, "church.csv", "line")).toEqual(rows);
  });

  it("has its prompts in the column that is named", async () => {
    const text = "Original,Spanish,Index\nA dog,Un perro,4\n";
    expect(await read(text, "hub.csv", "Spanish")).toEqual([{ prompt: "Un perro" }]);
    expect(await read("prompt,adversarial\na,b\n", "two.csv", "ADVERSARIAL")).toEqual([{ prompt: "b" }]);
  });

  it.each<[string, string, RegExp]>([
    [
      "no column of prompts",
      "Original,Spanish,Index\nA dog,Un perro,4\n",
      /Expected .*prompts\.csv to have a column prompt or text, .*its columns are Original, Spanish, Index; name another/,
    ],
    ["a prompt list without a header", "A church, 8k.\nClouds\n", /is no CSV: .*name "line"/],
    [
      "a seed that is none",
      "prompt,seed\na,1\nb,x7\n",
      /Line 3 of .* has seed "x7"\. Expected a whole number/,
    ],
    [
      "a seed below zero",
      "prompt,sd_seed\na,-1\n",
      /Line 2 .* has sd_seed "-1"\. Expected a whole number >= 0/,
    ],
    ["half a pixel", "prompt,width\na,0.5\n", /has width "0\.5"/],
    ["a guidance in words", "prompt,guidance\na,much\n", /has guidance "much"\. Expected a number/],
    ["a row without a prompt", "prompt,seed\na,1\n ,2\n", /Line 3 of .* has no prompt/],
    ["a header alone", "prompt,seed\n", /Expected prompts in .*, but it has none/],
    ["nothing at all", "", /column prompt or text/],
  ])("is refused with %s", async (_, text, message) => {
    await expect(read(text)).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: expect.stringMatching(message),
    });
  });

  it("is refused without the column that is named", async () => {
    await expect(read("prompt,seed\na,1\n", "prompts.csv", "French")).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: expect.stringMatching(/has no column "French"; it has prompt, seed/),
    });
  });

  it("has to exist", async () => {
    const reading = readPrompts(join(folder, "none.csv"), { fill });
    await expect(reading).rejects.toMatchObject({ code: "NOT_FOUND" });
  });
});
