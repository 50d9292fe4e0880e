import { bearerToken } from "../../src/auth/bearer.ts";

describe("the Authorization header", () => {
  test.each([
    ["Bearer abc", "abc"],
    ["bearer abc", "abc"],
    ["BEARER abc", "abc"],
    ["Bearer   abc", "abc"],
    ["Bearer aB0-._~+/==", "aB0-._~+/=="],
    [`Bearer skald_${"A".repeat(43)}`, `skald_${"A".repeat(43)}`],
  ])("%j holds a token", (header, token) => {
    expect(bearerToken(header)).toBe(token);
  });

  test.each([
    undefined,
    "",
    "Bearer",
    "Bearer ",
    "abc",
    "Bearerabc",
    " Bearer abc",
    "Bearer abc ",
    "Bearer abc\n",
    "Bearer\tabc",
    "Bearer abc def",
    "Bearer abc, Bearer def",
    "Bearer a=b",
    "Bearer =",
    'Bearer "abc"',
    "Bearer äbc",
    "Bearer abc;x=1",
    "Basic YTpi",
    "XBearer abc",
    `Bearer ${"a".repeat(8192)}`,
  ])("%j holds none", (header) => {
    expect(bearerToken(header)).toBeUndefined();
  });
});
