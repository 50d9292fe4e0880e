import Database from "better-sqlite3";

/**
 * Twenty statements of the kind people write, over documents of the shape of a film and a country list, and a plain
 * SQLite database with the same rows to compare their answers with. The tests and the benchmark share them.
 */

/** Statements that make the tables, the same on both sides but for what `forOracle` says. */
export const SCHEMA = [
  'CREATE TABLE movies (id TEXT PRIMARY KEY, title TEXT NOT NULL, year INTEGER, "cast" JSON, genres JSON, href TEXT, extract TEXT, thumbnail TEXT, thumbnail_width INTEGER, thumbnail_height INTEGER)',
  "CREATE TABLE countries (id TEXT PRIMARY KEY, cca2 TEXT, name JSON, region TEXT, subregion TEXT, area REAL, landlocked BOOLEAN, independent BOOLEAN, unMember BOOLEAN, capital JSON, languages JSON, currencies JSON, borders JSON, latlng JSON)",
  "CREATE INDEX movies_by_year ON movies (year, title)",
  "CREATE VIEW europe AS SELECT id, name ->> 'common' AS name, area FROM countries WHERE region = 'Europe'",
  "CREATE VIRTUAL TABLE movies_fts USING fts5(title, extract, content='movies')",
];

const TABLES = {
  movies: [
    "title",
    "year",
    "cast",
    "genres",
    "href",
    "extract",
    "thumbnail",
    "thumbnail_width",
    "thumbnail_height",
  ],
  countries: [
    "cca2",
    "name",
    "region",
    "subregion",
    "area",
    "landlocked",
    "independent",
    "unMember",
    "capital",
    "languages",
    "currencies",
    "borders",
    "latlng",
  ],
};

export const QUERIES = [
  {
    name: "films of each year",
    sql: "SELECT year, count(*) AS films, round(avg(length(extract)), 1) AS letters FROM movies GROUP BY year ORDER BY year",
  },
  {
    name: "genres with many films (json_each, HAVING)",
    sql: "SELECT g.value AS genre, count(*) AS films FROM movies, json_each(movies.genres) AS g GROUP BY genre HAVING films >= ? ORDER BY films DESC, genre LIMIT 12",
    args: [5],
  },
  {
    name: "who played most (json_each, DISTINCT, group_concat)",
    sql: `SELECT c.value AS actor, count(DISTINCT m.id) AS films, group_concat(DISTINCT m.year ORDER BY m.year) AS years FROM movies AS m, json_each(m."cast") AS c GROUP BY actor ORDER BY films DESC, actor LIMIT 15`,
  },
  {
    name: "full text, best first",
    sql: "SELECT m.title, m.year FROM movies_fts JOIN movies AS m ON m.id = movies_fts.id WHERE movies_fts MATCH ? ORDER BY rank, m.id LIMIT 20",
    args: ["war AND (world OR love)"],
  },
  {
    name: "full text with snippets",
    sql: "SELECT title, snippet(movies_fts, -1, '[', ']', '…', 8) AS found, round(bm25(movies_fts), 6) AS score FROM movies_fts WHERE movies_fts MATCH :words ORDER BY score, title, id LIMIT 10",
    args: { words: "title : night OR extract : detective" },
  },
  {
    name: "longest text of each year (row_number)",
    sql: "SELECT year, title, letters FROM (SELECT year, title, length(extract) AS letters, row_number() OVER (PARTITION BY year ORDER BY length(extract) DESC, id) AS place FROM movies) WHERE place <= 3 ORDER BY year, place",
  },
  {
    name: "running total (window over an aggregate)",
    sql: "SELECT year, count(*) AS films, sum(count(*)) OVER (ORDER BY year) AS so_far, lag(count(*)) OVER (ORDER BY year) AS before FROM movies GROUP BY year ORDER BY year",
  },
  {
    name: "countries within three borders (recursive CTE)",
    sql: "WITH RECURSIVE near(id, steps) AS (SELECT ?, 0 UNION SELECT b.value, near.steps + 1 FROM near JOIN countries AS c ON c.id = near.id, json_each(c.borders) AS b WHERE near.steps < 3) SELECT c.name ->> 'common' AS country, min(near.steps) AS steps FROM near JOIN countries AS c ON c.id = near.id GROUP BY c.id ORDER BY steps, country",
    args: ["FRA"],
  },
  {
    name: "JSON paths in documents without a table",
    sql: "SELECT key, value ->> '$.name.official' AS official, json_extract(value, '$.latlng[0]') AS latitude, json_array_length(value, '$.borders') AS neighbours FROM documents WHERE collection = 'countries' AND value ->> '$.region' = ? ORDER BY key",
    args: ["Africa"],
  },
  {
    name: "neighbours of another region (join of three)",
    sql: "SELECT a.name ->> 'common' AS country, b.name ->> 'common' AS neighbour, a.region, b.region AS other FROM countries AS a JOIN json_each(a.borders) AS e JOIN countries AS b ON b.id = e.value WHERE a.region < b.region ORDER BY country, neighbour",
  },
  {
    name: "sizes (CASE, sum, avg)",
    sql: "SELECT CASE WHEN area IS NULL OR area < 0 THEN 'unknown' WHEN area < 1000 THEN 'tiny' WHEN area < 100000 THEN 'small' WHEN area < 1000000 THEN 'middling' ELSE 'large' END AS size, count(*) AS countries, sum(landlocked) AS landlocked, round(avg(area), 2) AS average, max(area) AS largest FROM countries GROUP BY size ORDER BY average",
  },
  {
    name: "largest of each region (correlated subquery)",
    sql: "SELECT region, name ->> 'common' AS country, area FROM countries AS c WHERE area = (SELECT max(area) FROM countries AS d WHERE d.region = c.region) ORDER BY region, country",
  },
  {
    name: "islands (NOT EXISTS, a view)",
    sql: "SELECT e.name, e.area FROM europe AS e WHERE NOT EXISTS (SELECT 1 FROM countries AS c, json_each(c.borders) AS b WHERE c.id = e.id) ORDER BY e.area DESC, e.name",
  },
  {
    name: "languages of several regions (EXCEPT, DISTINCT)",
    sql: "SELECT DISTINCT l.value AS language FROM countries AS c, json_each(c.languages) AS l WHERE c.region = 'Africa' EXCEPT SELECT l.value FROM countries AS c, json_each(c.languages) AS l WHERE c.region = 'Europe' ORDER BY language",
  },
  {
    name: "two lists in one (UNION ALL)",
    sql: "SELECT 'film' AS kind, title AS name FROM movies WHERE title LIKE 'The A%' UNION ALL SELECT 'country', name ->> 'common' FROM countries WHERE name ->> 'common' LIKE 'a%' ORDER BY kind, name",
  },
  {
    name: "films that speak of a country (join by text)",
    sql: "SELECT c.name ->> 'common' AS country, count(*) AS films FROM countries AS c JOIN movies AS m ON instr(m.extract, c.name ->> 'common') > 0 GROUP BY c.id ORDER BY films DESC, country LIMIT 15",
  },
  {
    name: "dates (date functions, printf)",
    sql: "SELECT DISTINCT year, date(year || '-01-31', '+1 month') AS next, strftime('%w', year || '-07-04') AS weekday, CAST(julianday('2020-01-01') - julianday(year || '-01-01') AS INTEGER) AS days, printf('%05.1f|%s', year / 7.0, year) AS text FROM movies WHERE year BETWEEN ? AND ? ORDER BY year",
    args: [2001, 2008],
  },
  {
    name: "JSON of rows (json_group_array, json_object)",
    sql: "SELECT subregion, json_group_array(json_object('id', id, 'name', name ->> 'common') ORDER BY id) AS members, json_group_object(id, area ORDER BY id) FILTER (WHERE independent) AS areas FROM countries WHERE region = 'Americas' GROUP BY subregion ORDER BY subregion",
  },
  {
    name: "what is missing (LEFT JOIN, IS NULL, coalesce)",
    sql: "SELECT c.id, coalesce(c.subregion, 'none') AS subregion, coalesce(json_array_length(c.capital), 0) AS capitals, m.title FROM countries AS c LEFT JOIN movies AS m ON m.title = c.name ->> 'common' WHERE c.landlocked = 1 OR m.id IS NOT NULL ORDER BY c.id, m.id",
  },
  {
    name: "a page (row values, named arguments)",
    sql: "SELECT year, id, title, thumbnail_width * 1.0 / thumbnail_height AS ratio, genres FROM movies WHERE (year, id) > (:year, :id) ORDER BY year, id LIMIT :size",
    args: { year: 2004, id: "m", size: 50 },
  },
];

/** JSON with sorted keys, as values of documents are written. */
export function canonical(value) {
  if (Array.isArray(value)) return `[${value.map(canonical).join()}]`;
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  const keys = Object.keys(value).sort();
  return `{${keys.map((key) => `${JSON.stringify(key)}:${canonical(value[key])}`).join()}}`;
}

function columnOf(value) {
  if (value === undefined || value === null) return null;
  if (typeof value === "boolean") return value ? 1n : 0n;
  if (typeof value === "object") return canonical(value);
  return Number.isSafeInteger(value) ? BigInt(value) : value;
}

/** A plain database with these documents, by names such as `movies/m0001`. */
export function oracleOf(documents) {
  const db = new Database(":memory:");
  db.exec("CREATE TABLE documents (collection TEXT, key TEXT, value TEXT, PRIMARY KEY (collection, key))");
  for (const sql of SCHEMA.filter((statement) => !statement.startsWith("CREATE VIRTUAL"))) db.exec(sql);
  db.exec("CREATE VIRTUAL TABLE movies_fts USING fts5(id UNINDEXED, title, extract)");
  const into = Object.fromEntries(
    Object.entries(TABLES).map(([table, columns]) => [
      table,
      db.prepare(
        `INSERT INTO ${table} (id, ${columns.map((name) => `"${name}"`).join()}) VALUES (?${", ?".repeat(columns.length)})`,
      ),
    ]),
  );
  const document = db.prepare("INSERT INTO documents VALUES (?, ?, ?)");
  db.transaction(() => {
    for (const [name, value] of documents) {
      const [collection, key] = name.split("/");
      document.run(collection, key, canonical(value));
      into[collection]?.run(key, ...TABLES[collection].map((field) => columnOf(value[field])));
    }
    db.exec("INSERT INTO movies_fts (id, title, extract) SELECT id, title, extract FROM movies ORDER BY id");
  })();
  return db;
}

/** The columns and rows of a statement in that database, its integers as they are in JSON. */
export function answerOf(db, { sql, args = [] }) {
  const bound = Array.isArray(args)
    ? args.map(columnOf)
    : Object.fromEntries(Object.entries(args).map(([name, value]) => [name, columnOf(value)]));
  const statement = db.prepare(sql).raw();
  const rows = Array.isArray(bound) ? statement.all(...bound) : statement.all(bound);
  return { columns: statement.columns().map(({ name }) => name), rows };
}

/** Documents of that shape, made from a source of numbers from 0 to 1. */
export function madeDocuments(random, films = 300, lands = 60) {
  const documents = new Map();
  for (let i = 0; i < films; i += 1)
    documents.set(`movies/m${String(i).padStart(4, "0")}`, madeMovie(random));
  const ids = madeIds(lands);
  for (const id of ids) documents.set(`countries/${id}`, madeCountry(random, id, ids));
  return documents;
}

const WORDS =
  "war world love night detective dragon river city war story young old house king queen train sea winter summer lost found secret return last first ghost money island family band team school teacher doctor lawyer soldier pilot Ärger año 東京".split(
    " ",
  );
const GENRES = ["Comedy", "Drama", "Crime", "Thriller", "Horror", "Romance", "Science Fiction", "Family"];
const REGIONS = {
  Europe: ["Western Europe", "Northern Europe"],
  Africa: ["Eastern Africa"],
  Americas: ["Caribbean", "South America"],
  Asia: ["Southern Asia"],
};
const LANGUAGES = {
  eng: "English",
  fra: "French",
  deu: "German",
  spa: "Spanish",
  swa: "Swahili",
  ara: "Arabic",
};

const below = (random, n) => Math.floor(random() * n);
const pick = (random, list) => list[below(random, list.length)];
const some = (random, list, most) =>
  Array.from({ length: below(random, most + 1) }, () => pick(random, list));
const capital = (word) => word[0].toUpperCase() + word.slice(1);

export function madeMovie(random) {
  const title = `${random() < 0.2 ? "The A" : "The "}${some(random, WORDS, 3).map(capital).join(" ")} ${capital(pick(random, WORDS))}`;
  const extract = `${title} is a film about ${Array.from({ length: 20 + below(random, 60) }, () => pick(random, WORDS)).join(" ")} in ${pick(random, ["Landia FRA", "Landia AAB", "nowhere"])}.`;
  return {
    title,
    year: 2000 + below(random, 10),
    cast: [
      ...new Set(
        some(
          random,
          WORDS.map((word) => `${capital(word)} Smith`),
          6,
        ),
      ),
    ],
    genres: [...new Set(some(random, GENRES, 4))],
    href: random() < 0.1 ? null : title.replaceAll(" ", "_"),
    extract,
    ...(random() < 0.8
      ? {
          thumbnail: `https://example.org/${title.length}.jpg`,
          thumbnail_width: 220,
          thumbnail_height: 200 + below(random, 200),
        }
      : {}),
  };
}

function madeIds(count) {
  const letters = "ABCDEFGH";
  return ["FRA", ...Array.from({ length: count - 1 }, (_, i) => `A${letters[i >> 3]}${letters[i & 7]}`)];
}

export function madeCountry(random, id, ids) {
  const region = pick(random, Object.keys(REGIONS));
  const languages = Object.fromEntries(some(random, Object.entries(LANGUAGES), 3));
  return {
    name: { common: `Landia ${id}`, official: `The "Republic", of\n${id}`, native: languages },
    cca2: id.slice(0, 2),
    region,
    ...(random() < 0.9 ? { subregion: pick(random, REGIONS[region]) } : {}),
    area: random() < 0.1 ? -1 : Math.round(random() ** 6 * 1e9) / 100,
    landlocked: random() < 0.3,
    independent: random() < 0.9,
    unMember: random() < 0.8,
    capital: some(random, WORDS.map(capital), 2),
    languages,
    currencies: { [pick(random, ["EUR", "USD"])]: { name: "Money", symbol: "€" } },
    borders: [...new Set(some(random, ids, 4))].filter((other) => other !== id),
    latlng: [Math.round(random() * 1e6) / 1e4 - 50, below(random, 180)],
  };
}

/** Some of the documents changed, some deleted, some made; gives what was done and leaves `documents` so. */
export function edited(documents, random, share = 0.1) {
  const done = [];
  for (const [name, value] of Array.from(documents)) {
    const chance = random();
    if (chance < share / 3) {
      documents.delete(name);
      done.push({ name });
    } else if (chance < share) {
      const next = name.startsWith("movies/")
        ? {
            ...value,
            title: `${value.title} II`,
            year: (value.year ?? 2000) + 1,
            genres: [...(value.genres ?? []), "Sequel"],
          }
        : {
            ...value,
            area: (value.area ?? 0) * 2,
            landlocked: !value.landlocked,
            borders: (value.borders ?? []).slice(1),
          };
      documents.set(name, next);
      done.push({ name, value: next });
    }
  }
  for (let i = 0; i < 5; i += 1) {
    const name = `movies/n${below(random, 1e6)}`;
    const value = madeMovie(random);
    documents.set(name, value);
    done.push({ name, value });
  }
  return done;
}
