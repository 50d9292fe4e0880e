import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { generateKeyPairSync, randomBytes } from "node:crypto";
import type { AddressInfo } from "node:net";
import type { Configuration, KoaContextWithOIDC, Provider } from "oidc-provider";
import { PAGE_STYLE_HASH, endedPage, logoutPage, pickPage, problemPage } from "./dev-pages.ts";
import { shortMemory } from "./dev-memory.ts";

/**
 * The identity provider of `skald serve --dev`: two people, no passwords, everything in memory. Whoever reaches it
 * can be either of them, so it listens on loopback only and answers to loopback's names only: a page of another site
 * whose name was made to point here (DNS rebinding) would else sign in as the admin.
 */
export interface DevPerson {
  readonly sub: string;
  readonly name: string;
  /** What he may, for whoever has to pick one. */
  readonly hint: string;
  readonly admin: boolean;
}

export const DEV_PEOPLE: readonly DevPerson[] = [
  { sub: "ada", name: "Ada Admin", hint: "administers this server", admin: true },
  { sub: "paul", name: "Paul Plain", hint: "sees nothing until somebody invites him", admin: false },
];

export interface DevProvider {
  readonly issuer: string;
  readonly clientId: string;
  readonly clientSecret: string;
  /** Sends people back to this server and to no other; before it is called nobody can sign in. */
  admit(origins: readonly string[]): void;
  close(): Promise<void>;
}

export const CALLBACK = "/auth/oidc/callback";
const PICK = /^\/pick\/([A-Za-z0-9_-]{1,64})$/;
const FORM_BYTES = 1024;
const SESSION = "skald-dev-session";

/** Listens on `host`, which is loopback, at `port` (0: any that is free). Rejects with EADDRINUSE. */
export async function startDevProvider(host: string, port: number): Promise<DevProvider> {
  const Provider = await loadProvider();
  const server = createServer();
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen({ host, port }, resolve);
  });
  const { address, family, port: taken } = server.address() as AddressInfo;
  const issuer = `http://${family === "IPv6" ? `[${address}]` : address}:${taken}`;
  const clientId = "skald";
  const clientSecret = randomBytes(32).toString("base64url");
  let origins: readonly string[] = [];
  const memory = shortMemory((model, id) =>
    model === "Client" && id === clientId && origins.length > 0
      ? {
          client_id: clientId,
          client_secret: clientSecret,
          redirect_uris: origins.map((origin) => origin + CALLBACK),
          post_logout_redirect_uris: origins.flatMap((origin) => [`${origin}/_/`, `${origin}/`]),
          response_types: ["code"],
          grant_types: ["authorization_code"],
          id_token_signed_response_alg: "ES256",
          token_endpoint_auth_method: "client_secret_basic",
        }
      : undefined,
  );
  const provider = new Provider(issuer, configurationOf(memory));
  provider.use(async (ctx, next) => {
    await next();
    replaceLogoutPage(ctx as KoaContextWithOIDC);
  });
  const answer = provider.callback();
  const names = new Set(["127.0.0.1", "localhost", "[::1]"].map((name) => `${name}:${taken}`));
  names.add(new URL(issuer).host);
  server.on("request", (req, res) => {
    secure(res, origins);
    if (!names.has(req.headers.host ?? "")) {
      page(res, 421, problemPage("This provider answers to names of this machine only.", origins[0]));
      return;
    }
    const path = (req.url ?? "").split("?")[0] as string;
    if (path.startsWith("/auth")) forgetSession(req);
    if (!PICK.test(path)) void answer(req, res);
    else
      void picking(provider, issuer, req, res).catch(() =>
        page(res, 400, problemPage("This sign-in has run out or is not yours.", origins[0])),
      );
  });
  return {
    issuer,
    clientId,
    clientSecret,
    admit: (to) => {
      origins = [...to];
    },
    close: () => closed(server),
  };
}

/** The package says on standard error that it wants a newer Node than the oldest that Skald runs on, where it works. */
async function loadProvider(): Promise<typeof Provider> {
  const { warn } = console;
  console.warn = () => {};
  try {
    return (await import("oidc-provider")).Provider;
  } finally {
    console.warn = warn;
  }
}

function configurationOf(adapter: NonNullable<Configuration["adapter"]>): Configuration {
  const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  return {
    adapter,
    jwks: { keys: [{ ...privateKey.export({ format: "jwk" }), alg: "ES256", use: "sig" }] },
    // Cookies know no ports: a name of its own, so that two servers on one machine stay apart from other programs.
    cookies: {
      keys: [randomBytes(32).toString("base64url")],
      names: {
        session: SESSION,
        interaction: "skald-dev-interaction",
        resume: "skald-dev-resume",
      },
    },
    claims: {
      openid: ["sub"],
      profile: ["name", "preferred_username", "skald_role"],
      email: ["email", "email_verified"],
    },
    conformIdTokenClaims: false,
    pkce: { required: () => true },
    responseTypes: ["code"],
    clientAuthMethods: ["client_secret_basic"],
    features: {
      dPoP: { enabled: false },
      pushedAuthorizationRequests: { enabled: false },
      devInteractions: { enabled: false },
      rpInitiatedLogout: { enabled: true, logoutSource: blank, postLogoutSuccessSource: ended },
    },
    ttl: {
      AccessToken: 600,
      AuthorizationCode: 60,
      IdToken: 600,
      Interaction: 3600,
      Session: 3600,
      Grant: 3600,
    },
    findAccount: (_ctx, sub) => {
      const person = DEV_PEOPLE.find((one) => one.sub === sub);
      if (!person) return undefined;
      return {
        accountId: sub,
        claims: () => ({
          sub,
          name: person.name,
          preferred_username: person.sub,
          email: `${person.sub}@example.org`,
          email_verified: true,
          skald_role: person.admin ? "admin" : "plain",
        }),
      };
    },
    interactions: { url: (_ctx, interaction) => `/pick/${interaction.uid}` },
    loadExistingGrant: async (ctx) => {
      const grant = new ctx.oidc.provider.Grant({
        clientId: ctx.oidc.client?.clientId as string,
        accountId: ctx.oidc.session?.accountId as string,
      });
      grant.addOIDCScope("openid profile email");
      await grant.save();
      return grant;
    },
    renderError: (ctx, out) => {
      ctx.type = "html";
      ctx.body = problemPage(out.error_description ?? out.error);
    },
  };
}

function blank(ctx: KoaContextWithOIDC): void {
  ctx.body = "";
}

function ended(ctx: KoaContextWithOIDC): void {
  ctx.type = "html";
  ctx.body = endedPage();
}

/** The package's own page sends itself off by a script, which the policy here does not let run. */
function replaceLogoutPage(ctx: KoaContextWithOIDC): void {
  if (ctx.oidc?.route !== "end_session" || ctx.status !== 200) return;
  const state = ctx.oidc.session?.state as { secret?: unknown } | undefined;
  if (typeof state?.secret !== "string") return;
  ctx.type = "html";
  ctx.body = logoutPage(ctx.oidc.urlFor("end_session_confirm"), state.secret);
}

/** Every sign-in asks who it is: the session is for signing out only, and another person's stands in nobody's way. */
function forgetSession(req: IncomingMessage): void {
  const cookies = req.headers.cookie?.split(/; */).filter((cookie) => !cookie.startsWith(SESSION));
  if (cookies) req.headers.cookie = cookies.join("; ");
}

async function picking(
  provider: Provider,
  issuer: string,
  req: IncomingMessage,
  res: ServerResponse,
): Promise<void> {
  const { uid } = await provider.interactionDetails(req, res);
  if (req.method === "GET") return page(res, 200, pickPage(`/pick/${uid}`, DEV_PEOPLE));
  const who = new URLSearchParams(await formOf(req)).get("who");
  const person = DEV_PEOPLE.find(({ sub }) => sub === who);
  if (req.method !== "POST" || !person || (req.headers.origin ?? issuer) !== issuer)
    throw new Error("not a choice made on the page");
  await provider.interactionFinished(req, res, { login: { accountId: person.sub, remember: false } });
}

async function formOf(req: IncomingMessage): Promise<string> {
  const parts: Buffer[] = [];
  let bytes = 0;
  for await (const part of req as AsyncIterable<Buffer>) {
    bytes += part.length;
    if (bytes > FORM_BYTES) throw new Error("too long for a choice");
    parts.push(part);
  }
  return Buffer.concat(parts).toString("utf8");
}

/** Without a referrer browsers would send no origin with the form. `form-action` holds for where a form's answer leads as well: back to Skald. */
function secure(res: ServerResponse, origins: readonly string[]): void {
  const targets = origins.map((origin) => (origin.includes("[") ? "http:" : origin));
  res.setHeader(
    "content-security-policy",
    `default-src 'none'; style-src '${PAGE_STYLE_HASH}'; form-action 'self' ${targets.join(" ")}; frame-ancestors 'none'; base-uri 'none'`,
  );
  res.setHeader("x-content-type-options", "nosniff");
  res.setHeader("referrer-policy", "same-origin");
  res.setHeader("cache-control", "no-store");
}

function page(res: ServerResponse, status: number, html: string): void {
  if (res.headersSent) return void res.destroy();
  res.writeHead(status, { "content-type": "text/html; charset=utf-8" }).end(html);
}

function closed(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve());
    server.closeAllConnections();
  });
}
