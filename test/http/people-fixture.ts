import path from "node:path";
import { People } from "../../src/auth/people.ts";
import { Sessions } from "../../src/auth/sessions.ts";

export interface LoggedInPerson {
  readonly id: string;
  readonly subject: string;
  /** What a page of the server sends. */
  readonly headers: Readonly<Record<string, string>>;
}

/** Logs somebody in to the server that runs on `dir`, as if the provider had been asked. */
export function logIn(
  dir: string,
  sub: string,
  claims: Readonly<Record<string, unknown>> = {},
): LoggedInPerson {
  const file = path.join(dir, "service.sqlite");
  const people = new People(file);
  const sessions = new Sessions(file);
  try {
    const { id, subject } = people.seen({ issuer: "https://id.example.org", sub, claims });
    const { cookie } = sessions.open({ person: id }, { address: "127.0.0.1", agent: "test" });
    return { id, subject, headers: { cookie: `skald=${cookie}`, "sec-fetch-site": "same-origin" } };
  } finally {
    sessions.end();
    people.close();
  }
}
