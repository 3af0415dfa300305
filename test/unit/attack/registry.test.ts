import { defineAttack } from "../../../lib/attack/method";
import { ATTACK_NAMES, attackNamed } from "../../../lib/attack/registry";

describe("the registry of attacks", () => {
  it.each(ATTACK_NAMES)("has of %s a paper and a line each of what it does, finds and costs", (name) => {
    const { reference, short, finds, cost } = attackNamed(name);
    expect(reference).toMatch(/arXiv|doi/);
    for (const text of [short, finds, cost]) expect(text).toMatch(/^\S.*[^.\s]$/);
  });

  it.each(["title", "short", "reference", "finds", "needsPictures", "cost", "options", "run"])(
    "refuses a definition without its %s, by name",
    (field) => {
      const whole = { ...attackNamed("ring-a-bell"), name: "mine" };
      expect(() => defineAttack(whole)).not.toThrow();
      expect(() => defineAttack({ ...whole, [field]: undefined })).toThrow(
        expect.objectContaining({
          code: "INVALID_ARGUMENT",
          message: expect.stringMatching(`attack "mine" to have ${field}`) as string,
        }),
      );
    },
  );
});
