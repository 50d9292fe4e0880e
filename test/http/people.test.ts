import { runSkald } from "../support/skald-process.ts";
import { tempDir } from "../support/temp-dir.ts";
import { API, problem, startHttp, type Ask, type Reply } from "./fixture.ts";
import { logIn, type LoggedInPerson } from "./people-fixture.ts";

const dir = tempDir();
const { ask, server } = await startHttp(dir);
const as = (who: LoggedInPerson, method: string, path: string, more: Ask = {}): Promise<Reply> =>
  ask(method, `${path.startsWith("/auth") || path === "/status" ? "" : API}${path}`, {
    ...more,
    token: null,
    headers: { ...who.headers, ...more.headers },
  });
const admin = (method: string, path: string, body?: object): Promise<Reply> =>
  ask(method, `${API}${path}`, {
    ...(body ? { body } : {}),
    ...(method === "PATCH" && path.includes("/docs/")
      ? { headers: { "content-type": "application/merge-patch+json" } }
      : {}),
  });
const give = async (db: string, who: LoggedInPerson, role: string | null): Promise<void> => {
  const path = `/db/${db}/people/${who.id}`;
  const reply = role === null ? await admin("DELETE", path) : await admin("PUT", path, { role });
  if (reply.status >= 300) throw new Error(reply.text);
};
const dbsOf = async (who: LoggedInPerson): Promise<unknown> =>
  ((await as(who, "GET", "/db")).json["dbs"] as { db: string }[]).map(({ db }) => db);

const ROLES = ["none", "viewer", "editor", "owner", "admin", "owner of another db"] as const;
type Caller = (typeof ROLES)[number];
const people = Object.fromEntries(
  ROLES.map((role) => [role, logIn(dir, role, { preferred_username: role.split(" ").join("-") })]),
) as Record<Caller, LoggedInPerson>;

beforeAll(async () => {
  for (const db of ["mine", "other-db"]) {
    await admin("PUT", `/db/${db}`);
    for (const doc of ["notes/a", "notes/b"]) await admin("PUT", `/db/${db}/docs/${doc}`, { n: 1 });
  }
  for (const role of ["viewer", "editor", "owner"] as const) await give("mine", people[role], role);
  await give("other-db", people["owner of another db"], "owner");
  expect((await admin("PATCH", `/people/${people.admin.id}`, { admin: true })).status).toBe(200);
});

describe("roles take effect at once", () => {
  test("in what is listed and what may be asked", async () => {
    const ada = logIn(dir, "ada");
    expect(await dbsOf(ada)).toEqual([]);
    await give("mine", ada, "viewer");
    expect(await dbsOf(ada)).toEqual(["mine"]);
    const write = (): Promise<Reply> => as(ada, "PUT", "/db/mine/docs/notes/ada", { body: { n: 1 } });
    problem(await write(), 403, "FORBIDDEN");
    await give("mine", ada, "editor");
    expect((await write()).status).toBe(201);
    const { json } = await as(ada, "GET", "/db/mine/docs/notes/ada/history");
    expect(
      (json["history"] as { author: string }[] | undefined)?.[0]?.author ?? JSON.stringify(json),
    ).toContain(ada.subject);
    await give("mine", ada, null);
    problem(await write(), 403, "FORBIDDEN");
    expect(await dbsOf(ada)).toEqual([]);
    await admin("PATCH", `/people/${ada.id}`, { disabled: true });
    problem(await as(ada, "GET", "/status"), 401, "UNAUTHENTICATED");
  });

  test("on an open stream", async () => {
    const bob = logIn(dir, "bob");
    await give("mine", bob, "viewer");
    const stream = await fetch(`${server.url}${API}/db/mine/changes?feed=sse&since=now&heartbeat=100`, {
      headers: bob.headers,
    });
    expect(stream.status).toBe(200);
    const reader = (stream.body as ReadableStream<Uint8Array>).getReader();
    let text = "";
    const next = async (): Promise<boolean> => {
      const { done, value } = await reader.read();
      text += Buffer.from(value ?? []).toString("utf8");
      return done;
    };
    await next();
    // What it did not have to do with does not end it: it still beats, some times.
    await give("other-db", bob, "owner");
    text = "";
    while (text.split(":\n").length < 4) expect([await next(), text]).toEqual([false, text]);
    await give("mine", bob, null);
    while (!(await next())) expect(text).not.toContain("event: change");
    expect(text).toContain("UNAUTHENTICATED");
  });

  test("when a db is deleted and another one gets its name", async () => {
    const [ann, cat] = [logIn(dir, "ann"), logIn(dir, "cat")];
    await admin("PUT", "/db/brief");
    await give("brief", ann, "owner");
    const made = await as(ann, "POST", "/db/brief/invitations", { body: { role: "owner" } });
    const secret = (made.json["url"] as string).split("/").at(-1);
    expect((await as(ann, "DELETE", "/db/brief?confirm=brief")).status).toBe(204);
    problem(await as(ann, "PUT", "/db/brief"), 403, "FORBIDDEN");
    await admin("PUT", "/db/brief");
    await admin("PUT", "/db/brief/docs/notes/new", { n: 1 });
    problem(await as(ann, "GET", "/db/brief/docs/notes/new"), 403, "FORBIDDEN");
    expect(await dbsOf(ann)).toEqual([]);
    problem(await as(cat, "POST", "/invitations/accept", { body: { secret } }), 404, "INVITATION_NOT_FOUND");
    expect((await admin("GET", "/db/brief/people")).json).toEqual({ people: [] });
  });
});

describe("dbs are made", () => {
  test("by administrators, who own what they made, and by no owner", async () => {
    const boss = logIn(dir, "boss");
    await admin("PATCH", `/people/${boss.id}`, { admin: true });
    expect((await as(boss, "PUT", "/db/made")).status).toBe(201);
    await admin("PATCH", `/people/${boss.id}`, { admin: false });
    expect((await as(boss, "GET", "/db/made/people")).json["people"]).toMatchObject([
      { id: boss.id, role: "owner", subject: boss.subject },
    ]);
    expect((await as(boss, "PUT", "/db/made")).status).toBe(200);
    problem(await as(boss, "PUT", "/db/made-too"), 403, "FORBIDDEN");
    expect((await admin("GET", "/db/made-too")).status).toBe(404);
  });

  test("also not by an owner who asks while his db is being deleted", async () => {
    const dan = logIn(dir, "dan");
    await admin("PUT", "/db/racing");
    for (let i = 0; i < 4; i += 1) {
      await give("racing", dan, "owner");
      const [gone, ...made] = await Promise.all([
        as(dan, "DELETE", "/db/racing?confirm=racing"),
        as(dan, "PUT", "/db/racing"),
        as(dan, "PUT", "/db/racing"),
      ]);
      expect([gone.status, made.map(({ status }) => status).includes(201)]).toEqual([204, false]);
      expect((await admin("GET", "/db/racing")).status).toBe(404);
      await admin("PUT", "/db/racing");
      expect((await admin("GET", "/db/racing/people")).json).toEqual({ people: [] });
    }
  });
});

describe("an editor", () => {
  test("writes under no other name: neither by a push of records nor by an import", async () => {
    const body = { headers: { "content-type": "application/cbor-seq" }, body: Buffer.from("a0", "hex") };
    problem(await as(people.editor, "POST", "/db/mine/sync/push", body), 403, "FORBIDDEN");
    expect((await as(people.owner, "POST", "/db/mine/sync/push", body)).status).toBe(400);
    const car = { headers: { "content-type": "application/vnd.ipld.car" }, body: Buffer.alloc(3) };
    problem(await as(people.owner, "POST", "/db/mine/import", car), 403, "FORBIDDEN");
  });
});

describe("an invitation", () => {
  test("is a link whose secret is behind the #, shown once, and gives the role to whoever logs in with it", async () => {
    const [ida, joe] = [logIn(dir, "ida"), logIn(dir, "joe")];
    const made = await as(people.owner, "POST", "/db/mine/invitations", {
      body: { role: "editor", uses: 1, expires_in: 3600, note: "for Ida" },
    });
    expect(made.status).toBe(201);
    expect(made.headers["cache-control"]).toBe("no-store");
    const url = new URL(made.json["url"] as string);
    expect([url.origin, url.pathname, url.search]).toEqual([server.url, "/_/", ""]);
    const secret = /^#\/invite\/(skaldinv_[A-Za-z0-9_-]{43})$/.exec(url.hash)?.[1] as string;
    const list = await as(people.owner, "GET", "/db/mine/invitations");
    expect(list.text).not.toContain(secret.slice(9));
    const { url: _shownOnce, ...rest } = made.json;
    expect(list.json["invitations"]).toEqual([rest]);
    problem(await ask("POST", `${API}/invitations/accept`, { body: { secret } }), 403, "PERSON_NEEDED");
    const accept = (who: LoggedInPerson): Promise<Reply> =>
      as(who, "POST", "/invitations/accept", { body: { secret } });
    expect((await accept(ida)).json).toEqual({ db_id: "mine", role: "editor", changed: true });
    expect((await accept(ida)).json).toEqual({ db_id: "mine", role: "editor", changed: false });
    problem(await accept(joe), 410, "INVITATION_OVER");
    expect(await dbsOf(ida)).toEqual(["mine"]);
    await admin("DELETE", `/db/mine/people/${ida.id}`);
    problem(await accept(ida), 410, "INVITATION_OVER");
    expect(server.log()).not.toContain(secret.slice(9));
  });

  test("is revoked by whoever administers that db, and by no other", async () => {
    const { json } = await as(people.owner, "POST", "/db/mine/invitations", { body: { role: "viewer" } });
    const path = (db: string): string => `/db/${db}/invitations/${json["id"] as string}`;
    problem(await as(people["owner of another db"], "DELETE", path("other-db")), 404, "INVITATION_NOT_FOUND");
    problem(await as(people["owner of another db"], "DELETE", path("mine")), 403, "FORBIDDEN");
    expect((await as(people.owner, "DELETE", path("mine"))).status).toBe(204);
    expect((await as(people.owner, "GET", "/db/mine/invitations")).json["invitations"]).toContainEqual(
      expect.objectContaining({ id: json["id"], state: "revoked" }),
    );
  });
});

describe("people", () => {
  test("are shown to administrators with what decides their rights, and to owners as far as they are members", async () => {
    const list = (await as(people.admin, "GET", "/people")).json["people"] as Record<string, unknown>[];
    expect(list.find(({ id }) => id === people.admin.id)).toMatchObject({
      admin: true,
      admin_by: "admin",
      roles: [],
    });
    expect(list.find(({ id }) => id === people.viewer.id)).toMatchObject({
      admin: false,
      admin_by: null,
      issuer: "https://id.example.org",
      sub: "viewer",
      subject: expect.stringMatching(/^viewer#[0-9a-f]{8}$/) as string,
      roles: [{ db_id: "mine", role: "viewer" }],
    });
    const members = (await as(people.owner, "GET", "/db/mine/people")).json["people"] as Record<
      string,
      unknown
    >[];
    expect(members.map(({ role }) => role)).toEqual(
      members
        .map(({ role }) => role)
        .toSorted((a, b) => RANK.indexOf(a as string) - RANK.indexOf(b as string)),
    );
    expect(JSON.stringify(members)).not.toMatch(/issuer|admin/);
    problem(await as(people.owner, "GET", "/people"), 403, "FORBIDDEN");
  });

  test("are not all locked out: the last administrator stays one", async () => {
    const path = `/people/${people.admin.id}`;
    for (const body of [{ admin: false }, { disabled: true }])
      problem(await as(people.admin, "PATCH", path, { body }), 409, "LAST_ADMIN");
    problem(await as(people.admin, "DELETE", path), 409, "LAST_ADMIN");
    problem(await admin("PATCH", path, { admin: "yes" }), 400, "BAD_REQUEST");
    problem(
      await admin("PATCH", "/people/per_00000000000000000000", { admin: true }),
      404,
      "PERSON_NOT_FOUND",
    );
    problem(await admin("PUT", `/db/mine/people/${people.none.id}`, { role: "king" }), 400, "BAD_REQUEST");
    problem(
      await admin("PUT", `/db/nowhere/people/${people.none.id}`, { role: "owner" }),
      404,
      "DB_NOT_FOUND",
    );
  });

  test("are managed from the command line of the machine", async () => {
    const kim = logIn(dir, "kim", { preferred_username: "kim", email: "kim@x.org", email_verified: true });
    const run = async (...args: string[]): Promise<string> => {
      const { code, out, err } = await runSkald(["people", ...args, "--dir", dir]);
      return code === 0 ? out + err : `${code}: ${err}`;
    };
    expect(await run("role", "mine", kim.subject, "editor")).toMatch(/is editor of mine/);
    expect(await dbsOf(kim)).toEqual(["mine"]);
    expect(await run("disable", "kim@x.org")).toMatch(/disabled/);
    problem(await as(kim, "GET", "/status"), 401, "UNAUTHENTICATED");
    const invited = await run("invite", "mine", "--role", "viewer", "--uses", "3", "--expires", "1d");
    expect(invited).toMatch(new RegExp(`^${server.url}/_/#/invite/skaldinv_[A-Za-z0-9_-]{43}$`, "m"));
    expect(await run("list")).toMatch(new RegExp(`${kim.id} .*disabled .*editor of mine .*kim@x.org`));
  });
});

const RANK = ["owner", "editor", "viewer"];
