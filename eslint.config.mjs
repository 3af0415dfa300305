import { defineConfig } from "eslint/config";
import tseslint from "typescript-eslint";

export default defineConfig(
  {
    ignores: [
      ...[
        "node_modules/",
        "dist/",
        "build/",
        "build-*/",
        "prebuilds/",
        "coverage/",
        "demo/",
        "bench/results/",
      ],
      // A project of its own, which has the package from outside; its test compiles it.
      "examples/esm-typescript/",
      ...["examples/*/dist/", "examples/*/out/"],
    ],
  },
  {
    files: ["**/*.ts"],
    extends: [tseslint.configs.recommendedTypeChecked],
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      eqeqeq: ["error", "always"],
      "no-console": "error",
      "no-implicit-coercion": ["error", { boolean: false }],
      "object-shorthand": "error",
      "prefer-const": "error",
      "@typescript-eslint/consistent-type-imports": ["error", { disallowTypeAnnotations: false }],
      "@typescript-eslint/no-import-type-side-effects": "error",
      "@typescript-eslint/no-shadow": "error",
      "@typescript-eslint/no-unnecessary-type-arguments": "error",
      "@typescript-eslint/prefer-readonly": "error",
      "@typescript-eslint/return-await": ["error", "error-handling-correctness-only"],
      "@typescript-eslint/restrict-template-expressions": [
        "error",
        { allowNumber: true, allowBoolean: true },
      ],
      // An iterator's next() may have nothing to wait for; an option's callback is written as a method.
      "@typescript-eslint/require-await": "off",
      "@typescript-eslint/unbound-method": "off",
      "@typescript-eslint/switch-exhaustiveness-check": "error",
    },
  },
  {
    files: ["test/**/*.ts"],
    rules: {
      // expect.objectContaining and its kin are `any` in jest's types.
      "@typescript-eslint/no-unsafe-argument": "off",
      "@typescript-eslint/no-unsafe-assignment": "off",
      "no-console": "off",
    },
  },
  { files: ["bench/**/*.ts", "examples/**/*.ts"], rules: { "no-console": "off" } },
  {
    files: ["**/*.{mjs,cjs,js}"],
    rules: { eqeqeq: ["error", "always"], "no-unused-vars": "error", "prefer-const": "error" },
  },
);
