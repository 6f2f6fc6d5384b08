import reactHooks from "eslint-plugin-react-hooks";
import tseslint from "typescript-eslint";

/** Imports go down: app > features > components > lib. Features do not know each other. */
const zone = (files, forbidden) => ({
  files,
  rules: {
    "no-restricted-imports": [
      "error",
      {
        patterns: [
          { group: forbidden.map((name) => `@/${name}/**`), message: "Imports go down, never up." },
          { group: ["../*"], message: "Import from another folder by @/." },
        ],
      },
    ],
  },
});

export default tseslint.config(
  { ignores: [".next/", "out/", "next-env.d.ts", "src/lib/api/schema.ts"] },
  ...tseslint.configs.strict,
  ...tseslint.configs.stylistic,
  reactHooks.configs.flat.recommended,
  { rules: { "@typescript-eslint/consistent-type-definitions": "off", eqeqeq: "error" } },
  zone(["src/lib/**"], ["app", "features", "components"]),
  zone(["src/components/**"], ["app", "features"]),
  zone(["src/features/jobs/**"], ["app", "features/devices", "features/scenes"]),
  zone(["src/features/devices/**"], ["app", "features/jobs", "features/scenes"]),
  zone(["src/features/scenes/**"], ["app", "features/jobs", "features/devices"]),
);
