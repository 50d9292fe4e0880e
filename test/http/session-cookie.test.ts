import { SkaldError } from "../../src/errors.ts";
import {
  checkNotElsewhere,
  checkSameOrigin,
  isSecure,
  publicBase,
  readCookie,
  setCookie,
} from "../../src/http/session-cookie.ts";

const PUBLIC = "https://skald.example.com";
const host = "127.0.0.1:7600";
const outcome = (work: () => unknown): unknown => {
  try {
    return work() ?? "ok";
  } catch (error) {
    return (error as SkaldError).code;
  }
};

describe("the cookie", () => {
  test("over TLS has the prefix that ties it to this host, and only that one is read", () => {
    expect(setCookie("skald", "x", true, 60)).toBe(
      "__Host-skald=x; Path=/; Max-Age=60; HttpOnly; SameSite=Lax; Secure",
    );
    expect(setCookie("skald", "x", false, undefined)).toBe("skald=x; Path=/; HttpOnly; SameSite=Lax");
    const cookie = "a=b; skald=plain; __Host-skald=tied; skald-login=l";
    expect(readCookie({ cookie }, "skald", true)).toBe("tied");
    expect(readCookie({ cookie }, "skald", false)).toBe("plain");
    expect(readCookie({ cookie }, "skald-login", false)).toBe("l");
    expect(readCookie({ cookie: "skald=plain" }, "skald", true)).toBeUndefined();
    expect(readCookie({ cookie: "xskald=a; skald-login=b; =skald=c" }, "skald", false)).toBeUndefined();
    expect(readCookie({}, "skald", false)).toBeUndefined();
  });

  test("is one of TLS as the public URL says, else as the proxy does", () => {
    expect(isSecure({}, PUBLIC)).toBe(true);
    expect(isSecure({ "x-forwarded-proto": "https" }, "http://skald.example.com")).toBe(false);
    for (const said of ["https", "HTTPS", " https , http"]) {
      expect(isSecure({ "x-forwarded-proto": said }, undefined)).toBe(true);
    }
    for (const said of ["http", "http, https", "httpsx", ""]) {
      expect(isSecure({ "x-forwarded-proto": said }, undefined)).toBe(false);
    }
    expect(isSecure({}, undefined)).toBe(false);
  });
});

describe("what changes something with a cookie", () => {
  const good = [
    { "sec-fetch-site": "same-origin", host },
    { origin: `http://${host}`, host },
    { origin: "http://localhost:7600", host: "LOCALHOST:7600" },
    { origin: PUBLIC, host: "inside:7600" },
    { origin: "https://skald.example.com", host: "skald.example.com" },
  ];
  test.each(good)("is taken from %j", (headers) => {
    for (const method of ["POST", "PUT", "PATCH", "DELETE", "QUERY"]) {
      expect(outcome(() => checkSameOrigin(method, headers, PUBLIC))).toBe("ok");
    }
    expect(outcome(() => checkSameOrigin("GET", { ...headers, upgrade: "websocket" }, PUBLIC))).toBe("ok");
  });
  const bad = [
    { host },
    { origin: "https://evil.example", host },
    { origin: "null", host },
    { origin: "", host },
    { origin: `http://${host}.evil.example`, host },
    { origin: `http://${host}`, host: "127.0.0.1:7601" },
    { origin: "http://127.0.0.1", host },
    { origin: `ftp://${host}`, host },
    { origin: `http://${host}` },
    { origin: "http://skald.example.com", host },
    { origin: "http://skald.example.com", host: "skald.example.com" },
    { "sec-fetch-site": "cross-site", origin: `http://${host}`, host },
    { "sec-fetch-site": "same-site", origin: `http://${host}`, host },
    { "sec-fetch-site": "none", host },
    { "sec-fetch-site": "", origin: `http://${host}`, host },
  ];
  test.each(bad)("is refused from %j", (headers) => {
    for (const method of ["POST", "PUT", "PATCH", "DELETE", "QUERY", undefined]) {
      expect(outcome(() => checkSameOrigin(method, headers, PUBLIC))).toBe("CSRF_REFUSED");
    }
    expect(outcome(() => checkSameOrigin("GET", { ...headers, upgrade: "websocket" }, PUBLIC))).toBe(
      "CSRF_REFUSED",
    );
  });
});

test("what only reads is refused when another page fetches it, and not when somebody follows a link", () => {
  const from = (site: string, mode: string): unknown =>
    outcome(() =>
      checkSameOrigin("GET", { "sec-fetch-site": site, "sec-fetch-mode": mode, host }, undefined),
    );
  expect(from("cross-site", "no-cors")).toBe("CSRF_REFUSED");
  expect(from("same-site", "cors")).toBe("CSRF_REFUSED");
  expect(from("cross-site", "navigate")).toBe("ok");
  expect(from("none", "navigate")).toBe("ok");
  expect(from("same-origin", "cors")).toBe("ok");
  expect(outcome(() => checkSameOrigin("GET", { host }, undefined))).toBe("ok");
});

test("what needs no cookie is refused only to pages that are known to be others", () => {
  expect(outcome(() => checkNotElsewhere({ host }, undefined))).toBe("ok");
  expect(outcome(() => checkNotElsewhere({ host, origin: `http://${host}` }, undefined))).toBe("ok");
  expect(outcome(() => checkNotElsewhere({ host, origin: "https://evil.example" }, undefined))).toBe(
    "CSRF_REFUSED",
  );
  expect(outcome(() => checkNotElsewhere({ host, "sec-fetch-site": "cross-site" }, undefined))).toBe(
    "CSRF_REFUSED",
  );
});

describe("the server's own address", () => {
  test.each(["127.0.0.1:7600", "localhost", "app.localhost:7600", "[::1]:7600", "127.1.2.3:1"])(
    "is what a request on loopback says: %s",
    (said) => {
      expect(outcome(() => publicBase({ host: said }, undefined))).toBe(`http://${said}`);
    },
  );
  test.each([
    undefined,
    "",
    "evil.example",
    "evil.example:7600",
    "127.0.0.1.evil.example",
    "localhost@evil.example",
    "localhost/evil",
    "a b",
    "10.0.0.1",
    "localhost:99999",
    "127.0.0.1:7600#x",
  ])("is not what any other says: %s", (said) => {
    expect(outcome(() => publicBase(said === undefined ? {} : { host: said }, undefined))).toBe(
      "PUBLIC_URL_MISSING",
    );
  });
  test("is the one that was set, whatever a request says", () => {
    expect(publicBase({ host: "evil.example" }, PUBLIC)).toBe(PUBLIC);
  });
});
