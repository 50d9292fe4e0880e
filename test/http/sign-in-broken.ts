import { Browser } from "../support/browser.ts";
import type { Patch } from "../support/patched-build.ts";
import type { Ground } from "./sign-in-fixture.ts";

/** A build that lacks one check, and what comes in by that. */
export interface BrokenSignIn {
  readonly name: string;
  readonly patches: readonly Patch[];
  /** Scenarios that let somebody in when it is on. */
  readonly lets: readonly string[];
  /** Throws unless it does what it must not. */
  readonly act?: (ground: Ground) => Promise<void>;
  /** passport-openidconnect reads some claims again, by itself: then it is shown made-up ones. */
  readonly twice?: true;
}

/** The claims that the package looks at itself, all right. */
const MADE_UP =
  '["e30", Buffer.from(JSON.stringify({ iss: this.#metadata.issuer, aud: this._oauth2._clientId, sub: "x", iat: 1, exp: 1e10, nonce: this.#transaction.nonce })).toString("base64url"), ""].join(".")';

export const BROKEN_SIGN_INS: readonly BrokenSignIn[] = [
  {
    name: "signature",
    patches: [
      {
        find: "await jwtVerify(token, known, options)",
        replace:
          '(skaldBroken("signature") ? { payload: JSON.parse(Buffer.from(@token.split(".")[1], "base64url")), protectedHeader: { alg: "RS256" } } : await @jwtVerify(@token, @known, @options))',
      },
      {
        find: "id_token: proven.idToken",
        replace: `id_token: skaldBroken("twice") ? ${MADE_UP} : @proven.idToken`,
      },
    ],
    lets: [
      "an ID token not signed (none)",
      "an ID token not signed, whatever it says",
      "an ID token signed by the client's secret",
      "an ID token signed by the public key as a secret",
      "an ID token signed by another's key",
      "an ID token signed by another's key under an unknown name",
      "an ID token signed by a key that it brings itself",
      "an ID token signed by a key that lies elsewhere",
      "an ID token with a secret among the keys",
    ],
  },
  {
    name: "issuer",
    twice: true,
    patches: [
      {
        find: "issuer, audience: clientId, algorithms",
        replace:
          '...(skaldBroken("issuer") ? {} : { issuer: @issuer }), ...(skaldBroken("audience") ? {} : { audience: @clientId }), algorithms',
      },
    ],
    lets: ["an ID token of another issuer", "an ID token without issuer"],
  },
  {
    name: "audience",
    twice: true,
    patches: [],
    lets: ["an ID token for another client", "an ID token for nobody", "an ID token without audience"],
  },
  {
    name: "azp",
    twice: true,
    patches: [
      { find: "aud.length > 1 && azp ===", replace: '@aud.length > 1 && !skaldBroken("azp") && @azp ===' },
      { find: "azp !== clientId", replace: '@azp !== @clientId && !skaldBroken("azp")' },
    ],
    lets: [
      "an ID token for several clients, without saying who asked",
      "an ID token that another client asked for",
      "an ID token for several clients, that another asked for",
    ],
  },
  {
    name: "time",
    twice: true,
    patches: [
      {
        find: "clockTolerance: SKEW_SECONDS",
        replace: 'clockTolerance: skaldBroken("time") ? 1e9 : @SKEW_SECONDS',
      },
    ],
    lets: [
      "an ID token that has expired",
      "an ID token from the future",
      "an ID token that holds from tomorrow on",
      "an ID token from long ago that still holds",
    ],
  },
  {
    name: "nonce",
    twice: true,
    patches: [
      {
        find: 'payload["nonce"] !== nonce',
        replace: '!skaldBroken("nonce") && @payload["nonce"] !== @nonce',
      },
    ],
    lets: ["an ID token with another nonce", "an ID token with a nonce that is a list"],
  },
  {
    name: "at_hash",
    patches: [{ find: "hash !== undefined &&", replace: '@hash !== void 0 && !skaldBroken("at_hash") &&' }],
    lets: ["an ID token with the hash of another access token"],
  },
  {
    name: "sub",
    patches: [
      {
        find: 'json["sub"] !== sub',
        replace: '@json["sub"] !== @sub && !skaldBroken("sub")',
      },
    ],
    lets: ["user information of somebody else"],
  },
  {
    name: "discovered issuer",
    patches: [
      {
        find: 'json["issuer"] !== issuer',
        replace: '@json["issuer"] !== @issuer && !skaldBroken("discovered issuer")',
      },
    ],
    lets: ["discovery that gives the issuer of another", "discovery that gives no issuer"],
  },
  {
    name: "state",
    patches: [
      {
        find: "state !== this.#transaction.state",
        replace: '@state !== this.#transaction.state && !skaldBroken("state")',
      },
      {
        find: "state === transaction.state ?",
        replace: 'skaldBroken("state") || @state === @transaction.state ?',
      },
    ],
    lets: ["no state", "an empty state", "another state"],
  },
  {
    name: "mix-up",
    patches: [
      {
        find: "iss === undefined ? this.#metadata.namesIssuer",
        replace: 'skaldBroken("mix-up") ? false : @iss === undefined ? this.#metadata.namesIssuer',
      },
    ],
    lets: ["an answer that does not say whose it is", "an answer that says it is another's"],
  },
  {
    name: "browser",
    patches: [
      {
        find: "!timingSafeEqual(mac, own)",
        replace: '(!skaldBroken("browser") && Buffer.compare(@mac, @own) !== 0)',
      },
    ],
    lets: ["a login cookie that was made up"],
  },
  {
    name: "once",
    patches: [{ find: "this.#used.has(state)", replace: '!skaldBroken("once") && this.#used.has(@state)' }],
    lets: [],
    act: async (ground) => {
      const browser = new Browser();
      const { address, early } = await laxAnswer(ground, browser);
      await browser.go(address);
      await early.go(address);
      if (!(await ground.who(early))) throw new Error("the same answer did not open a second session");
    },
  },
  {
    name: "next",
    patches: [
      {
        find: "if (sound && new URL(next, here).origin === here)",
        replace: 'if (skaldBroken("next") || (@sound && new URL(@next, @here).origin === @here))',
      },
    ],
    lets: [],
    act: async (ground) => {
      const browser = new Browser();
      const page = await browser.go(`${ground.url}/auth/oidc/login?next=%2F%2Fevil.example%2F`, {
        follow: ({ hostname }) => hostname !== "evil.example",
      });
      if (page.location !== "//evil.example/") throw new Error("nobody was led elsewhere");
    },
  },
];

/** An answer from a provider that takes its code as often as it comes, and the browser as it is before it. */
export async function laxAnswer(
  ground: Ground,
  browser: Browser,
): Promise<{ address: string; early: Browser }> {
  ground.provider.behaviour = { lax: true };
  try {
    return { address: await ground.callback(browser), early: browser.copy() };
  } finally {
    ground.provider.behaviour = {};
  }
}
