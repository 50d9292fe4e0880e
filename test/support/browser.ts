import { request, type IncomingHttpHeaders } from "node:http";

/**
 * As much of a browser as signing in needs: cookies (which know hosts but no ports), and redirects across servers.
 * It sends the headers by which a server tells a navigation from what another site's page does.
 */
export interface Page {
  readonly url: string;
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
  /** Where it leads, as the server wrote it. */
  readonly location: string | undefined;
}

export interface Visit {
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
  /** Follows redirects while this says so; without it to the end. */
  readonly follow?: (url: URL) => boolean;
}

export class Browser {
  readonly cookies = new Map<string, string>();
  /** Every address it has been to, and every Set-Cookie it was given. */
  readonly seen: string[] = [];

  /** One request and its answer. */
  async ask(url: string, { method = "GET", headers = {}, body }: Visit = {}): Promise<Page> {
    const target = new URL(url);
    this.seen.push(target.href);
    const page = await new Promise<Page>((resolve, reject) => {
      const req = request(
        {
          host: target.hostname.replace(/^\[|\]$/g, ""),
          port: target.port,
          method,
          path: target.pathname + target.search,
          headers: { host: target.host, ...this.#cookie(target), ...headers },
          agent: false,
        },
        (res) => {
          const parts: Buffer[] = [];
          res.on("data", (part: Buffer) => parts.push(part));
          res.on("error", reject);
          res.on("end", () =>
            resolve({
              url,
              status: res.statusCode ?? 0,
              headers: res.headers,
              text: Buffer.concat(parts).toString("utf8"),
              location: res.headers.location,
            }),
          );
        },
      );
      req.on("error", reject);
      req.end(body);
    });
    for (const line of page.headers["set-cookie"] ?? []) this.#take(target, line);
    return page;
  }

  /** A navigation: follows where it leads, ten steps at most. */
  async go(url: string, visit: Visit = {}): Promise<Page> {
    let page = await this.ask(url, visit);
    for (let steps = 0; page.location !== undefined && steps < 10; steps += 1) {
      const next = new URL(page.location, page.url);
      if (visit.follow && !visit.follow(next)) return page;
      page = await this.ask(next.href);
    }
    return page;
  }

  /** The same cookies in another browser. */
  copy(): Browser {
    const other = new Browser();
    for (const [key, value] of this.cookies) other.cookies.set(key, value);
    return other;
  }

  cookieNames(): string[] {
    return [...this.cookies.keys()].map((key) => key.slice(key.indexOf(" ") + 1));
  }

  #cookie(target: URL): { cookie?: string } {
    const own = [...this.cookies].filter(([key]) => key.startsWith(`${target.hostname} `));
    if (own.length === 0) return {};
    return { cookie: own.map(([key, value]) => `${key.slice(key.indexOf(" ") + 1)}=${value}`).join("; ") };
  }

  #take(target: URL, line: string): void {
    const [pair = ""] = line.split(";");
    const at = pair.indexOf("=");
    const key = `${target.hostname} ${pair.slice(0, at)}`;
    if (/;\s*max-age=0\b/i.test(line) || /;\s*expires=[^;]*1970/i.test(line)) this.cookies.delete(key);
    else this.cookies.set(key, pair.slice(at + 1));
    this.seen.push(`set-cookie ${line}`);
  }
}
