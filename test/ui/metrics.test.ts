import { parseMetrics, total } from "../../src/ui/metrics.ts";
import { Readings } from "../../src/ui/readings.ts";
import { createEvents } from "../../src/events.ts";

describe("the text of /metrics", () => {
  test("is read as the server's own library writes it", async () => {
    const events = createEvents({ level: "silent" });
    events.gauge("skald_tricky", "A gauge.", () => 2.5);
    events.gauges("skald_labelled", "With a label.", "kind", ["a", "b"], (kind) => (kind === "a" ? 1 : 2));
    events.request({ id: "1", method: "GET", route: "/db/:db", status: 200, ms: 4, principal: "x" });
    events.request({ id: "2", method: "GET", route: "/db/:db", status: 404, ms: 6, principal: "x" });
    const families = parseMetrics((await events.metrics()).text);
    events.close();
    expect(families.get("skald_tricky")).toEqual({
      name: "skald_tricky",
      type: "gauge",
      samples: [{ labels: {}, value: 2.5 }],
    });
    expect(total(families, "skald_labelled", ({ kind }) => kind === "b")).toBe(2);
    expect(total(families, "skald_http_requests_total")).toBe(2);
    expect(
      total(families, "skald_http_requests_total", ({ status }) => status?.startsWith("4") ?? false),
    ).toBe(1);
    expect(total(families, "skald_http_request_seconds_total")).toBeCloseTo(0.01);
    expect(total(families, "process_cpu_seconds_total")).toBeGreaterThan(0);
    expect(total(families, "skald_missing")).toBeUndefined();
  });

  test("may have escapes, infinities, stamps of time, and lines that are none of it", () => {
    const families = parseMetrics(
      [
        "# HELP a Text with {braces}",
        "# TYPE a counter",
        'a{path="C:\\\\x\\n",quote="say \\"hi, {you}\\"",} 1 1700000000000',
        "a +Inf",
        "a -Inf",
        "a NaN",
        "a 1e3",
        'a{broken="yes} 4',
        'a{one="1" two="2"} 5',
        "no value",
        "",
        "<html>",
      ].join("\r\n"),
    );
    expect([...families.keys()]).toEqual(["a"]);
    expect(families.get("a")?.type).toBe("counter");
    expect(families.get("a")?.samples).toEqual([
      { labels: { path: "C:\\x\n", quote: 'say "hi, {you}"' }, value: 1 },
      { labels: {}, value: Infinity },
      { labels: {}, value: -Infinity },
      { labels: {}, value: 1000 },
    ]);
  });
});

describe("readings of metrics", () => {
  const read = (readings: Readings, time: number, text: string): void =>
    readings.add(time, parseMetrics(text));

  test("a counter becomes its growth a second, and begins at 0 again where the server did", () => {
    const readings = new Readings();
    read(readings, 10, 'n{a="1"} 100\nn{a="2"} 0');
    read(readings, 12, 'n{a="1"} 104\nn{a="2"} 6');
    read(readings, 14, 'n{a="1"} 2\nn{a="2"} 4');
    expect(readings.values({ metric: "n", rate: true })).toEqual([null, 5, 3]);
    expect(readings.values({ metric: "n", rate: true, passes: ({ a }) => a === "2" })).toEqual([null, 3, 2]);
    expect(readings.times).toEqual([10, 12, 14]);
  });

  test("a mean is growth by growth, and there is none while nothing was counted", () => {
    const readings = new Readings();
    read(readings, 1, "s 1\nn 10");
    read(readings, 2, "s 1.5\nn 15");
    read(readings, 3, "s 1.5\nn 15");
    expect(readings.values({ metric: "s", per: "n", times: 1000 })).toEqual([null, 100, null]);
  });

  test("a gauge is as it is, null where the server has not got it; only the last readings stay", () => {
    const readings = new Readings(2);
    read(readings, 1, "g 1");
    read(readings, 2, "other 1");
    read(readings, 2, "g 9");
    read(readings, 3, "g 3");
    expect(readings.values({ metric: "g" })).toEqual([null, 3]);
    expect(readings.latest({ metric: "g", times: 2 })).toBe(6);
    expect(new Readings().latest({ metric: "g" })).toBeNull();
  });

  test("what the server counts for the first time between two readings grew from 0", () => {
    const readings = new Readings();
    read(readings, 1, "other 1");
    read(readings, 2, "n 4");
    expect(readings.values({ metric: "n", rate: true })).toEqual([null, 4]);
  });
});
