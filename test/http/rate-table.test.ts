import fc from "fast-check";
import { addressOf, isSecure, networkOf, type TrustedProxies } from "../../src/http/address.ts";
import { RateTable } from "../../src/http/rate-table.ts";

/** A million with SKALD_TEST_ADDRESSES=1000000. */
const ADDRESSES = Number(process.env["SKALD_TEST_ADDRESSES"] ?? 50_000);

function forAll<T>(values: fc.Arbitrary<T>, holds: (value: T) => void): void {
  fc.assert(fc.property(values, holds));
}

describe("a rate", () => {
  test("lets as many through at once as a minute has, and then one after the other", () => {
    const table = new RateTable(60);
    for (let i = 0; i < 60; i += 1) expect(table.take("a", 1000)).toBe(0);
    expect(table.take("a", 1000)).toBeCloseTo(1000);
    expect(table.take("a", 1999)).toBeCloseTo(1);
    expect(table.take("a", 2000)).toBe(0);
    expect(table.take("a", 2000)).toBeCloseTo(1000);
    // What is refused uses nothing, however often it is tried.
    for (let i = 0; i < 1000; i += 1) table.take("a", 2500);
    expect(table.take("a", 3000)).toBe(0);
    expect(table.take("b", 3000)).toBe(0);
  });

  test("says how many are left, and when all are back", () => {
    const table = new RateTable(60);
    expect(table.left("a", 5)).toEqual({ left: 60, seconds: 0 });
    table.take("a", 5);
    table.take("a", 5, 2.5);
    expect(table.left("a", 5)).toEqual({ left: 56, seconds: 4 });
    expect(table.left("a", 60_005)).toEqual({ left: 60, seconds: 0 });
  });

  test("never lets more through in any stretch of time than a full rate and what comes back in it", () => {
    forAll(
      fc.tuple(
        fc.integer({ min: 1, max: 200 }),
        fc.array(fc.tuple(fc.constantFrom("a", "b"), fc.nat({ max: 3000 })), { maxLength: 400 }),
      ),
      ([limit, asked]) => {
        const table = new RateTable(limit);
        const passed: Record<string, number[]> = { a: [], b: [] };
        let now = 10;
        for (const [key, pause] of asked) {
          now += pause;
          if (table.take(key, now) === 0) passed[key]?.push(now);
        }
        for (const times of Object.values(passed))
          times.forEach((from, i) => {
            times.slice(i).forEach((to, more) => {
              expect(more + 1).toBeLessThanOrEqual(limit + ((to - from) * limit) / 60_000 + 1e-6);
            });
          });
      },
    );
  });

  test("whoever waits as long as he is told is let through, and not before", () => {
    forAll(
      fc.tuple(fc.integer({ min: 1, max: 1_000_000 }), fc.integer({ min: 0, max: 1e12 })),
      ([limit, now]) => {
        const table = new RateTable(limit);
        // All of it in one piece, which is the same as one by one.
        expect(table.take("a", now, limit)).toBe(0);
        const wait = table.take("a", now);
        expect(wait).toBeGreaterThan(0);
        expect(table.take("a", now + wait * 0.9)).toBeGreaterThan(0);
        expect(table.take("a", now + wait + 1e-3)).toBe(0);
      },
    );
  });

  test("more addresses than there are places take no more memory than it has room for, and do not reset who is busy", () => {
    const table = new RateTable(10, 1000);
    for (let i = 0; i < 10; i += 1) expect(table.take("busy", 1)).toBe(0);
    let passed = 0;
    for (let i = 0; i < ADDRESSES; i += 1) {
      table.take(`10.${i >> 16}.${(i >> 8) & 255}.${i & 255}`, 1);
      if (i % 500 === 0 && table.take("busy", 1) === 0) passed += 1;
    }
    expect(passed).toBe(0);
    expect(table.size).toBeLessThanOrEqual(2000);
  });

  test("nothing of a minute ago is kept", () => {
    const table = new RateTable(10);
    for (let i = 0; i < 100; i += 1) table.take(`a${i}`, i);
    table.take("b", 60_100);
    table.take("c", 120_200);
    expect(table.size).toBe(2);
  });
});

describe("the client's address", () => {
  const from = (
    remoteAddress: string | undefined,
    headers: Record<string, string> = {},
    trusted?: TrustedProxies,
  ): string => addressOf({ socket: { remoteAddress }, headers } as never, trusted);
  const xff = (hops: number): TrustedProxies => ({ header: "x-forwarded-for", hops });
  const rfc7239 = (hops: number): TrustedProxies => ({ header: "forwarded", hops });

  test("is that of the connection, whatever a header says, when no proxy is trusted", () => {
    const headers = { "x-forwarded-for": "1.1.1.1", forwarded: "for=2.2.2.2" };
    expect(from("9.9.9.9", headers)).toBe("9.9.9.9");
    expect(from("::ffff:9.9.9.9", headers)).toBe("9.9.9.9");
    expect(from("fe80::1%eth0", headers)).toBe("fe80::1");
    expect(from(undefined)).toBe("unknown");
  });

  test.each<[string, Record<string, string>, TrustedProxies, string]>([
    ["the last step", { "x-forwarded-for": "6.6.6.6, 1.1.1.1" }, xff(1), "1.1.1.1"],
    ["the last but one", { "x-forwarded-for": "6.6.6.6, 1.1.1.1, 10.0.0.1" }, xff(2), "1.1.1.1"],
    ["the first of too few", { "x-forwarded-for": "1.1.1.1" }, xff(3), "1.1.1.1"],
    ["with a port", { "x-forwarded-for": "1.1.1.1:4711" }, xff(1), "1.1.1.1"],
    ["IPv6 with a port", { "x-forwarded-for": "[2001:db8::1]:4711" }, xff(1), "2001:db8::1"],
    ["no address", { "x-forwarded-for": "unknown" }, xff(1), "9.9.9.9"],
    ["an injection", { "x-forwarded-for": "<script>" }, xff(1), "9.9.9.9"],
    ["none at all", {}, xff(1), "9.9.9.9"],
    ["nothing", { "x-forwarded-for": "" }, xff(1), "9.9.9.9"],
    ["the other header", { forwarded: "for=1.1.1.1" }, xff(1), "9.9.9.9"],
    ["Forwarded", { forwarded: 'for=6.6.6.6, for="1.1.1.1:80";proto=https;by=x' }, rfc7239(1), "1.1.1.1"],
    ["Forwarded, IPv6", { forwarded: 'proto=http;For="[2001:db8::1]:80"' }, rfc7239(1), "2001:db8::1"],
    ["Forwarded, hidden", { forwarded: "for=_hidden" }, rfc7239(1), "9.9.9.9"],
    ["not X-Forwarded-For", { "x-forwarded-for": "1.1.1.1" }, rfc7239(1), "9.9.9.9"],
  ])("behind proxies that are trusted: %s", (_, headers, trusted, address) => {
    expect(from("9.9.9.9", headers, trusted)).toBe(address);
  });

  test("no header makes it anything but an address or what it was", () => {
    forAll(fc.tuple(fc.string(), fc.integer({ min: 1, max: 4 }), fc.boolean()), ([text, hops, which]) => {
      const trusted = which ? xff(hops) : rfc7239(hops);
      expect(from("9.9.9.9", { [trusted.header]: text }, trusted)).toMatch(/^[0-9a-f.:]+$/i);
    });
  });

  test("counts an IPv6 network of 64 bits as one", () => {
    const network = "2001:db8:1:2";
    for (const address of ["2001:db8:1:2::1", "2001:DB8:1:2:ffff::", "2001:0db8:0001:0002:3:4:5:6"])
      expect(networkOf(address)).toBe(network);
    expect(networkOf("2001:db8:1:3::1")).not.toBe(network);
    expect(networkOf("::1")).toBe("0:0:0:0");
    expect(networkOf("1.2.3.4")).toBe("1.2.3.4");
    expect(networkOf("2001:db8::5:6:7:8:9")).toBe("2001:db8:0:5");
  });

  test("TLS counts when it is here, or at a proxy that is trusted", () => {
    const secure = (
      headers: Record<string, string>,
      trusted?: TrustedProxies,
      encrypted?: boolean,
    ): boolean => isSecure({ socket: { encrypted }, headers } as never, trusted);
    expect(secure({}, undefined, true)).toBe(true);
    expect(secure({ "x-forwarded-proto": "https" })).toBe(false);
    expect(secure({ "x-forwarded-proto": "https" }, xff(1))).toBe(true);
    expect(secure({ "x-forwarded-proto": "https, http" }, xff(1))).toBe(false);
    expect(secure({ "x-forwarded-proto": "http" }, xff(2))).toBe(false);
    expect(secure({ forwarded: "for=1.1.1.1;proto=https" }, rfc7239(1))).toBe(true);
    expect(secure({ forwarded: "for=1.1.1.1;proto=http" }, rfc7239(1))).toBe(false);
  });
});
